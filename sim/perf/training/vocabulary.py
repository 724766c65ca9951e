"""Embedding and head cut over all stages of a pipeline, so that none has more than the others.

Every stage holds 1/p of the vocabulary and makes its logits of every micro-batch. `stages`: as
passes of their own whose barriers other micro-batches hide (arXiv 2411.05288, algorithm 2: one
barrier). `interlaced`: in step with each other, as tensor parallelism over the pipeline, with the
collectives exposed (nnScaler's schedule, that paper's baseline).
"""

from __future__ import annotations

from dataclasses import replace

from sim.perf.attentions.grouped import ACTIVATION_BYTES
from sim.perf.training.batch import MicroBatch
from sim.perf.training.layer_cost import Causes, Coster, PassCost


def spread_vocabulary(coster: Coster, micro: MicroBatch) -> PassCost:
    """What a stage does for the vocabulary beside its layers, all of it in its backward pass.

    Products and passes at their own, narrower shapes; every stage looks tokens up and writes zeros
    for those that are not its own. The last hidden vectors go to all stages, the embedding's sum to
    the first and the sum of the head's gradients to the last.
    """
    layout = coster.layout
    cut = replace(coster, vocab=-(-coster.vocab // layout.pp))
    both = PassCost().plus(cut.embedding(micro)).plus(cut.head(micro))
    spent: Causes = {"head": sum(both.causes().values())}
    if layout.vocabulary == "interlaced":
        spent["vocabulary"] = _collectives_s(coster, micro)
    return PassCost(backward=spent)


def _collectives_s(coster: Coster, micro: MicroBatch) -> float:
    """Broadcast of hidden vectors (priced as a gather), sums of embeddings and of gradients, and
    three sums of one number per token for the loss."""
    tokens, pipe = coster.tokens(micro), coster.wires.pipe
    nbytes = tokens * coster.hidden * ACTIVATION_BYTES / coster.layout.share
    wide = float(pipe.all_gather_s(nbytes)) + 2.0 * float(pipe.all_reduce_s(nbytes))
    return wide + 3.0 * float(pipe.all_reduce_s(4.0 * tokens))
