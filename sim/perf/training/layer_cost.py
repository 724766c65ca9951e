"""Seconds of one layer, of embedding and head, for one micro-batch on one device, phase by phase.

Elementwise kernels are counted by the numbers of 16 bit that they read and write per token, as in
Megatron-LM (core/fusions, legacy/model/transformer.py) and apex: norm 2 forward, 5 backward (3 for
the input's gradient, 2 more for those of scale and shift); residual addition 3 and 3, with dropout
and its mask of 1 byte 3.5 and 5.5; activation in and out; a bias's gradient reads its output's.
assumed: these counts, and those of the loss, are of that code from memory.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from sim.catalog.counting import latent_matrices
from sim.catalog.model import GroupedAttention, LatentAttention, Layer, MoeFfn, NoAttention, NoFfn
from sim.perf.attentions import cost_of
from sim.perf.attentions.grouped import ACTIVATION_BYTES
from sim.perf.layer_work import Routed
from sim.perf.training.batch import MicroBatch
from sim.perf.training.kernels import FLASH_BACKWARD, Product, TrainingKernels
from sim.perf.training.layout import TrainingLayout
from sim.perf.training.recipe import Recipe
from sim.perf.training.sizes import lora_of, score_width
from sim.perf.training.wires import TrainingWires

Causes = dict[str, float]
"""Seconds by what takes them: products, attention, passes, experts, tp, ep, cp, accumulation."""

NORM, NORM_BACK = 2.0, 5.0
ADD, ADD_BACK = 3.0, 3.0
DROP, DROP_BACK = 0.5, 2.5
"""What dropout adds to an addition: its mask written; backward a pass of its own."""
SOFTMAX, SOFTMAX_BACK = 2.0, 3.0
SCORE_DROP, SCORE_DROP_BACK = 2.5, 2.5
LOSS_BYTES, LOSS_BACK_BYTES = 38.0, 14.0
"""Per logit, Megatron-LM's vocab_parallel_cross_entropy: to fp32 (2 + 4), maximum (4), subtract
(8), exponential (8), sum (4), divide (8); backward scale (8), back to 16 bit (4 + 2)."""


@dataclass(frozen=True, slots=True)
class PassCost:
    """Seconds of one micro-batch through a part of the model."""

    forward: Causes = field(default_factory=dict)
    again: Causes = field(default_factory=dict)
    """Recomputation in the backward pass."""
    backward: Causes = field(default_factory=dict)
    """Gradients of inputs."""
    weights: Causes = field(default_factory=dict)
    """Gradients of weights."""

    @property
    def forward_s(self) -> float:
        """Seconds forward."""
        return sum(self.forward.values())

    @property
    def backward_s(self) -> float:
        """Seconds backward, recomputation and weights' gradients included."""
        return sum(sum(p.values()) for p in (self.again, self.backward, self.weights))

    @property
    def weights_s(self) -> float:
        """The part of `backward_s` that no other stage waits for."""
        return sum(self.weights.values())

    def causes(self) -> Causes:
        """All of it by cause; recomputation is a cause of its own."""
        out: Causes = {}
        for phase in (self.forward, self.backward, self.weights):
            for cause, seconds in phase.items():
                out[cause] = out.get(cause, 0.0) + seconds
        if self.again:
            out["recompute"] = sum(self.again.values())
        return out

    def plus(self, other: PassCost, times: float = 1.0) -> PassCost:
        """With `other`, so often."""
        phases = ("forward", "again", "backward", "weights")
        return PassCost(*(_sum(getattr(self, p), getattr(other, p), times) for p in phases))


def _biased(layer: Layer, which: str) -> bool:
    return bool(getattr(layer.attention, which, False))


def _sum(first: Causes, second: Causes, times: float) -> Causes:
    keys = {**first, **second}
    return {k: first.get(k, 0.0) + times * second.get(k, 0.0) for k in keys}


@dataclass(frozen=True, slots=True)
class Coster:
    """Prices parts of a model for micro-batches under one layout and recipe."""

    layout: TrainingLayout
    recipe: Recipe
    kernels: TrainingKernels
    wires: TrainingWires
    hidden: int
    vocab: int

    def tokens(self, micro: MicroBatch) -> float:
        """Tokens of a micro-batch on one device: 1/cp of every sequence."""
        return micro.tokens / self.layout.cp

    # --- products ------------------------------------------------------------------------------

    def matrices(self, layer: Layer) -> list[tuple[int, int]]:
        """(in, out) of every matrix that all tokens meet, on one device."""
        layout, ffn, d = self.layout, layer.ffn, self.hidden
        out = list(cost_of(layer.attention).matrices(layer.attention, d, layout.tp).values())
        width = ffn.shared_width if isinstance(ffn, MoeFfn) else ffn.width
        if width:
            local = -(-width // layout.tp)
            out += [(d, (1 + ffn.gated) * local), (local, d)]
        if isinstance(ffn, MoeFfn):
            out += [(d, ffn.experts), *latent_matrices(ffn, d).values()]
        return out

    def shapes(self, layer: Layer, micro: MicroBatch) -> Iterator[Product]:
        """Every product of a layer, for `TrainingKernels.know`."""
        tokens = self.tokens(micro)
        for i, o in self.matrices(layer):
            yield from ((tokens, o, i), (tokens, i, o), (i, o, tokens))
        if self._unfused(layer):
            yield from self._scores(layer, micro)

    def _products(self, layer: Layer, micro: MicroBatch) -> tuple[float, float, float]:
        """Seconds (forward, inputs' gradients, weights' gradients) of the matrices."""
        price, tokens = self.kernels.product_s, self.tokens(micro)
        shapes = self.matrices(layer)
        return (
            sum(price((tokens, o, i)) for i, o in shapes),
            sum(price((tokens, i, o)) for i, o in shapes),
            sum(price((i, o, tokens)) for i, o in shapes),
        )

    # --- attention -----------------------------------------------------------------------------

    def _unfused(self, layer: Layer) -> bool:
        scored = isinstance(layer.attention, GroupedAttention | LatentAttention)
        return scored and self.recipe.attention == "unfused"

    def _scores(self, layer: Layer, micro: MicroBatch) -> tuple[Product, Product]:
        """Queries by keys, and weights by values, of all heads as one tall product each."""
        key, value = score_width(layer)
        rows = self.tokens(micro) * layer.attention.q_heads / self.layout.tp
        mean = micro.squares / micro.tokens
        return (rows, mean, key), (rows, value, mean)

    def _attention(self, layer: Layer, micro: MicroBatch) -> tuple[float, float]:
        """Seconds (forward, backward) of the attention core."""
        if isinstance(layer.attention, NoAttention):
            return 0.0, 0.0
        tokens, share = self.tokens(micro), 1.0 / self.layout.cp
        if not self._unfused(layer):
            pairs = micro.pairs(layer.attention.window_tokens) * share
            once = self.kernels.attention_s(layer, self.layout.tp, tokens, pairs)
            return once, FLASH_BACKWARD * once
        first, second = map(self.kernels.product_s, self._scores(layer, micro))
        numbers = layer.attention.q_heads / self.layout.tp * micro.squares * share
        drop = self.recipe.dropout
        there = SOFTMAX + SCORE_DROP * drop
        back = SOFTMAX_BACK + SCORE_DROP_BACK * drop
        moved = self.kernels.pass_s
        return (
            first + second + moved(ACTIVATION_BYTES * numbers * there),
            first + 3 * second + moved(ACTIVATION_BYTES * numbers * back),
        )

    # --- passes --------------------------------------------------------------------------------

    def _passes(self, layer: Layer, micro: MicroBatch) -> tuple[float, float]:
        """Seconds (forward, backward) of norms, additions, activations and rearrangements."""
        there, back = self._wide_numbers(layer)
        parts = 2 - isinstance(layer.attention, NoAttention) - isinstance(layer.ffn, NoFfn)
        drop = self.recipe.dropout
        narrow = parts * self.hidden / self.layout.share
        there += narrow * (NORM + ADD + DROP * drop)
        back += narrow * (NORM_BACK + ADD_BACK + DROP_BACK * drop)
        back += self.hidden * (layer.ffn.bias + _biased(layer, "o_bias"))
        tokens = self.tokens(micro) * ACTIVATION_BYTES
        return self.kernels.pass_s(tokens * there), self.kernels.pass_s(tokens * back)

    def _wide_numbers(self, layer: Layer) -> tuple[float, float]:
        """Numbers per token that passes between the matrices move, forward and backward."""
        ffn, a, tp = layer.ffn, layer.attention, self.layout.tp
        width = (ffn.shared_width if isinstance(ffn, MoeFfn) else ffn.width) / tp
        there, back = (2 + ffn.gated) * width, (3 + 2 * ffn.gated + ffn.bias) * width
        if not isinstance(a, GroupedAttention | LatentAttention):
            return there, back
        key, value = score_width(layer)
        heads = a.q_heads / tp
        keys = max(1.0, a.kv_heads / tp) if isinstance(a, GroupedAttention) else heads
        inputs = heads * key + keys * (key + value)
        turned = 2.0 * (heads + keys) * key if self.recipe.rotary else 0.0
        out = 2.0 * heads * value if self._unfused(layer) else 0.0
        summed = inputs * _biased(layer, "qkv_bias")
        return there + turned + out, back + turned + out + 2.0 * inputs + summed

    # --- exchanges -----------------------------------------------------------------------------

    def _sums(self, layer: Layer, micro: MicroBatch) -> float:
        """Seconds of the tensor-parallel exchanges of one pass, forward or backward: an all-reduce
        behind attention and one behind the feed-forward part, or the two halves of each before and
        behind (sequence parallelism: the same bytes)."""
        if self.layout.tp == 1:
            return 0.0
        nbytes = self.tokens(micro) * self.hidden * ACTIVATION_BYTES
        tp = self.wires.tp
        if self.layout.sequence_parallel:
            one = float(tp.reduce_scatter_s(nbytes)) + float(tp.all_gather_s(nbytes))
        else:
            one = float(tp.all_reduce_s(nbytes))
        ffn = layer.ffn
        summed = 1 - isinstance(layer.attention, NoAttention)
        dealt = isinstance(ffn, MoeFfn) and self.layout.dispatches and not ffn.shared_width
        summed += 1 - (isinstance(ffn, NoFfn) or dealt)
        return summed * one * (1.0 - self.recipe.tp_overlap)

    def _experts(self, layer: Layer, micro: MicroBatch) -> tuple[float, float]:
        """Seconds (of the routed experts' forward pass, of a dispatch and a combine).

        Every device sends each of its tokens to top-k experts by an all-to-all, to all devices that
        share an expert (Megatron-Core's `alltoall` dispatcher; copies to the same device are not
        merged)."""
        ffn, layout = layer.ffn, self.layout
        if not isinstance(ffn, MoeFfn):
            return 0.0, 0.0
        own = self.tokens(micro) / layout.share
        dealt = layout.ep * layout.expert_tp if layout.dispatches else layout.share
        width = -(-ffn.width // layout.expert_tp)
        routed = Routed(ffn, ffn.latent or self.hidden, width, layout.ep, self.kernels.format)
        seconds = self.kernels.experts_s(own * dealt, routed)
        if dealt == 1 or not layout.dispatches:
            return seconds, 0.0
        copies = own * ffn.top_k * layout.expert_tp * (dealt - 1) / dealt
        sent = copies * routed.hidden * ACTIVATION_BYTES
        return seconds, 2.0 * float(self.wires.experts.all_to_all_s(sent))

    def _ring(self, layer: Layer, micro: MicroBatch, seconds: float) -> float:
        """Exposed part of keys and values going round the context-parallel ring, beside attention
        of `seconds` (arXiv 2310.01889: block by block)."""
        a, n = layer.attention, self.layout.cp
        if n == 1 or not isinstance(a, GroupedAttention | LatentAttention):
            return 0.0
        key, value = score_width(layer)
        heads = a.kv_heads if isinstance(a, GroupedAttention) else a.q_heads
        numbers = max(1.0, heads / self.layout.tp) * (key + value)
        step = float(self.wires.cp.send_s(self.tokens(micro) * numbers * ACTIVATION_BYTES))
        return (n - 1) * max(0.0, step - seconds / n)

    # --- whole parts ---------------------------------------------------------------------------

    def layer(self, layer: Layer, micro: MicroBatch) -> PassCost:
        """One layer."""
        product, inputs, weights = self._products(layer, micro)
        core, core_back = self._attention(layer, micro)
        there, back = self._passes(layer, micro)
        experts, dispatch = self._experts(layer, micro)
        summed = self._sums(layer, micro)
        forward = {
            "products": product,
            "attention": core,
            "passes": there,
            "experts": experts,
            "tp": summed,
            "ep": dispatch,
            "cp": self._ring(layer, micro, core),
        }
        if not self.recipe.trains:
            return PassCost(forward=forward)
        backward = {
            "products": inputs,
            "attention": core_back,
            "passes": back,
            "experts": experts,
            "tp": summed,
            "ep": dispatch,
            "cp": 2.0 * self._ring(layer, micro, core_back / 2.0),
        }
        again = dict(forward) if self.recipe.recompute == "full" else {}
        if self.recipe.recompute == "selective" and self._unfused(layer):
            again = {"attention": core}
        return PassCost(forward, again, backward, self._weights(layer, weights, experts, product))

    def _weights(self, layer: Layer, weights: float, experts: float, product: float) -> Causes:
        """Gradients of all weights, or of adapters: both passes of theirs, at the rate of the
        matrices they stand beside."""
        if self.recipe.method == "full":
            return {"products": weights, "experts": experts}
        whole = sum(i * o for i, o in self.matrices(layer)) * self.layout.tp
        share = lora_of(layer, self.hidden, self.recipe.lora_rank) / whole if whole else 0.0
        return {"adapters": 3.0 * share * product}

    def embedding(self, micro: MicroBatch) -> PassCost:
        """Looking up, and adding up the parts of the table (vocabulary over tp); backward a table
        of gradients, set to zero and written (dense gradients of `torch.nn.functional.embedding`).
        """
        nbytes = self.tokens(micro) * self.hidden * ACTIVATION_BYTES
        looked = self.kernels.pass_s(nbytes * (2.0 + 2.5 * self.recipe.dropout))
        forward = {"passes": looked, "tp": self._vocabulary_s(nbytes)}
        if self.recipe.method != "full":
            return PassCost(forward)
        table = self.vocab * self.hidden / self.layout.tp * 2 * ACTIVATION_BYTES
        return PassCost(forward, weights={"passes": self.kernels.pass_s(nbytes + table)})

    def head(self, micro: MicroBatch) -> PassCost:
        """The head's product and the loss over 32-bit logits."""
        tokens, price = self.tokens(micro), self.kernels.product_s
        d, local = self.hidden, self.vocab / self.layout.tp
        logits = tokens * local
        summed = self._vocabulary_s(tokens * d * ACTIVATION_BYTES)
        loss = 3.0 * float(self.wires.tp.all_reduce_s(4.0 * tokens)) if self.layout.tp > 1 else 0.0
        forward = {
            "head": price((tokens, local, d)) + self.kernels.pass_s(LOSS_BYTES * logits),
            "tp": loss,
        }
        if not self.recipe.trains:
            return PassCost(forward)
        back = price((tokens, d, local)) + self.kernels.pass_s(LOSS_BACK_BYTES * logits)
        full = self.recipe.method == "full"
        weights = {"head": price((d, local, tokens))} if full else {}
        return PassCost(forward, backward={"head": back, "tp": summed}, weights=weights)

    def _vocabulary_s(self, nbytes: float) -> float:
        """The sum over parts of the vocabulary."""
        if self.layout.tp == 1:
            return 0.0
        tp = self.wires.tp
        if self.layout.sequence_parallel:
            return float(tp.reduce_scatter_s(nbytes))
        return float(tp.all_reduce_s(nbytes))

    def accumulation(self, params: float) -> PassCost:
        """Adding the gradients of `params` on the device to the accumulated ones: in the product
        itself (one more read, and wider), or by a pass (read both, write)."""
        if not self.recipe.trains:
            return PassCost()
        g = self.recipe.gradient_bytes
        moved = 2.0 * g - 2.0 if self.recipe.fused_accumulation else 2.0 + 2.0 * g
        return PassCost(weights={"accumulation": self.kernels.pass_s(params * moved)})
