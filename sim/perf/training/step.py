"""The time of a training step, and whether it fits: `plan_step` puts the parts together."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from sim.catalog.gpu import Gpu
from sim.catalog.model import Layer, Model
from sim.errors import ScenarioError
from sim.network.topology import Topology
from sim.perf.attentions.grouped import ACTIVATION_BYTES
from sim.perf.fitted import Shelf
from sim.perf.training.batch import Batch, MicroBatch
from sim.perf.training.kernels import TrainingKernels, attention_core
from sim.perf.training.layer_cost import Causes, Coster, PassCost
from sim.perf.training.layout import TrainingLayout
from sim.perf.training.memory import training_memory
from sim.perf.training.nics import Nics
from sim.perf.training.outcome import TrainingStep
from sim.perf.training.outside import Outside, Stages
from sim.perf.training.pairing import check_recipe
from sim.perf.training.play import Times, play
from sim.perf.training.recipe import Recipe
from sim.perf.training.sizes import Stage, StepFlops, stages_of, step_flops
from sim.perf.training.skipping import play_skipping
from sim.perf.training.swap import swapped_cost
from sim.perf.training.vocabulary import spread_vocabulary
from sim.perf.training.wires import TrainingWires, training_wires

ENGINES = ("vllm-0.24", "trtllm-1.3", "sglang-0.5")
"""Whose kernels stand for a trainer's, the earlier first; matrix products are cuBLAS's in all."""

KEPT = 8192
"""Micro-batches whose prices are remembered: loops meet new ones in every step."""


@dataclass(slots=True)
class Trainer:
    """A model on a machine under a layout and a recipe; plans steps of any batch.

    Made once: it keeps the prices that it has worked out.
    """

    model: Model
    gpu: Gpu
    layout: TrainingLayout
    recipe: Recipe
    wires: TrainingWires
    kernels: TrainingKernels
    stages: tuple[Stage, ...]
    """What the pipeline's stages hold."""
    kinds: dict[Layer, int]
    """Distinct layers of the model and how often each occurs."""
    _costs: dict[MicroBatch, Stages] = field(default_factory=dict)
    _alike: tuple[int, ...] = ()
    """For every stage the first one that costs the same."""

    def __post_init__(self) -> None:
        last = len(self.stages) - 1
        said = [(i == 0, i == last, s.chunks, s.trained) for i, s in enumerate(self.stages)]
        self._alike = tuple(map(said.index, said))

    @property
    def coster(self) -> Coster:
        """Prices parts of the model."""
        m = self.model
        return Coster(self.layout, self.recipe, self.kernels, self.wires, m.hidden, m.vocab)

    def plan(self, batch: Batch, *, check: bool = True) -> TrainingStep:
        """Seconds of one step. Raises ScenarioError when it does not fit, unless `check` is off."""
        self._check_batch(batch)
        slowest = self._slowest(batch)
        largest = max((m for r in batch.replicas for m in r), key=lambda m: (m.tokens, m.squares))
        memory = training_memory(
            self.model,
            self.layout,
            self.recipe,
            self.gpu,
            largest,
            len(slowest),
            self.stages,
        )
        if check:
            memory.check(self.layout, self.model, self.gpu)
        pipeline_s, bubble, causes = self._pipeline(slowest)
        stages = [self.costs(m) for m in slowest]
        gradients_s, weights_s, update_s = self._around.seconds(stages)
        return TrainingStep(
            seconds=pipeline_s + gradients_s + weights_s + update_s,
            pipeline_s=pipeline_s,
            bubble=bubble,
            gradients_s=gradients_s,
            weights_s=weights_s,
            optimizer_s=update_s,
            causes=causes,
            tokens=batch.tokens,
            gpus=self.layout.gpus,
            flops=self._flops(batch.tokens, batch.squares),
            peak_flops_per_s=self.gpu.flops_per_s["bf16"],
            memory=memory,
        )

    def forward_s(self, batch: Batch) -> float:
        """Seconds of forward passes alone over a batch (log-probabilities under a policy or a
        reference): a flow through the stages, one micro-batch behind the other."""
        self._check_batch(batch)
        slowest = self._slowest(batch)
        send = self._send_s(max(m.tokens for m in slowest))
        ends = [0.0] * self.layout.pp
        for micro in slowest:
            stages = self.costs(micro)
            at = 0.0
            for i, chunks in enumerate(stages):
                at = max(at, ends[i]) + sum(c.forward_s for c in chunks)
                ends[i] = at
                at += send if i + 1 < len(stages) else 0.0
        return ends[-1]

    # --- the pipeline --------------------------------------------------------------------------

    def _pipeline(self, micros: tuple[MicroBatch, ...]) -> tuple[float, float, Causes]:
        """(seconds, bubble, causes of the busiest stage)"""
        kinds = tuple(dict.fromkeys(micros))
        self._know(kinds)
        one = len(kinds) == 1
        listed = kinds if one else micros
        forward, backward = self._times(listed, True), self._times(listed, False)
        send = self._send_s(max(m.tokens for m in kinds))
        passes = self.recipe.forwards
        if not self.recipe.trains:
            seconds = passes * self._flow_s(micros, send)
            busy = [
                passes * sum(map(sum, stage)) * (len(micros) if one else 1) for stage in forward
            ]
            worst = busy.index(max(busy))
            return seconds, 1.0 - busy[worst] / seconds, self._causes(micros, worst, seconds)
        if self.layout.skipped:
            skipping = play_skipping(self.layout.skipped, forward, backward, len(micros), send)
            return skipping.seconds, skipping.bubble, {}
        overlapped = self.recipe.p2p_overlap
        played = play(self.layout.schedule, forward, backward, len(micros), send, overlapped)
        worst = played.busy_s.index(max(played.busy_s))
        causes = self._causes(micros, worst, played.seconds)
        return played.seconds, played.bubble, causes

    def _flow_s(self, micros: tuple[MicroBatch, ...], send: float) -> float:
        return self.forward_s(Batch((micros,) * self.layout.dp))

    def _times(self, micros: tuple[MicroBatch, ...], forward: bool) -> Times:
        by_micro = [self.costs(m) for m in micros]
        return tuple(
            tuple(
                tuple(s[i][c].forward_s if forward else s[i][c].backward_s for s in by_micro)
                for c in range(len(by_micro[0][i]))
            )
            for i in range(self.layout.pp)
        )

    def _causes(self, micros: tuple[MicroBatch, ...], stage: int, seconds: float) -> Causes:
        """By cause; what is left is sends and bubble together."""
        out: Causes = {}
        for micro, count in Counter(micros).items():
            times = count * self.recipe.forwards
            for chunk in self.costs(micro)[stage]:
                for cause, spent in chunk.causes().items():
                    out[cause] = out.get(cause, 0.0) + times * spent
        out["sends and bubble"] = seconds - sum(out.values())
        return {k: v for k, v in out.items() if v}

    def costs(self, micro: MicroBatch) -> Stages:
        """By stage and chunk: what a micro-batch costs there."""
        if micro not in self._costs:
            self._know((micro,))
            self._costs[micro] = self._price(micro)
        return self._costs[micro]

    def _know(self, kinds: tuple[MicroBatch, ...]) -> None:
        if len(self._costs) > KEPT:
            self._costs.clear()
        coster, d = self.coster, float(self.model.hidden)
        parts = self.layout.pp if self.layout.spreads_vocabulary else 1
        local = -(-self.model.vocab // parts) / self.layout.tp
        wanted, cores = [], []
        for micro in kinds:
            if micro in self._costs:
                continue
            tokens = coster.tokens(micro)
            wanted += [(tokens, local, d), (tokens, d, local), (d, local, tokens)]
            for layer in self.kinds:
                wanted += coster.shapes(layer, micro)
                cores.append(attention_core(layer, self.layout.tp, tokens))
        self.kernels.know(wanted)
        self.kernels.know_cores([c for c in cores if c is not None])

    def _price(self, micro: MicroBatch) -> Stages:
        coster, layout = self.coster, self.layout
        each = {x: coster.layer(x, micro) for x in self.kinds}
        if self.recipe.swap is not None:
            count = len(self.model.layers)
            each = {x: swapped_cost(coster, x, micro, c, count) for x, c in each.items()}
        first, last = coster.embedding(micro), coster.head(micro)
        shared = spread_vocabulary(coster, micro) if layout.spreads_vocabulary else None
        out: list[tuple[PassCost, ...]] = []
        for i, stage in enumerate(self.stages):
            if self._alike[i] < i:
                out.append(out[self._alike[i]])
                continue
            share = 1.0 / len(stage.chunks)
            costs = []
            for c, layers in enumerate(stage.chunks):
                cost = coster.accumulation(stage.trained.total * share)
                for layer, n in layers.items():
                    cost = cost.plus(each[layer], n)
                ends = i == layout.pp - 1 and c == len(stage.chunks) - 1
                if shared is not None:
                    cost = cost.plus(shared, share)
                else:
                    cost = cost.plus(first) if i == c == 0 else cost
                    cost = cost.plus(last) if ends else cost
                costs.append(cost)
            out.append(tuple(costs))
        return tuple(out)

    def _send_s(self, tokens: int) -> float:
        """To the next stage: 1/tp of an activation from each device and gathered there, or all of
        it from each; norms' share under sequence parallelism."""
        if self.layout.pp == 1:
            return 0.0
        nbytes = tokens / self.layout.cp * self.model.hidden * ACTIVATION_BYTES
        if self.layout.sequence_parallel:
            return self.wires.send_s(nbytes / self.layout.tp)
        if self.layout.tp == 1 or not self.recipe.scatter_gather:
            return self.wires.send_s(nbytes)
        gathered = float(self.wires.tp.all_gather_s(nbytes))
        return self.wires.send_s(nbytes / self.layout.tp) + gathered

    # --- checks --------------------------------------------------------------------------------

    @property
    def _around(self) -> Outside:
        return Outside(
            self.model,
            self.gpu,
            self.layout,
            self.recipe,
            self.wires,
            self.kernels.hbm_bytes_per_s,
            self.stages,
        )

    def _check_batch(self, batch: Batch) -> None:
        layout, counts = self.layout, {len(r) for r in batch.replicas}
        if len(batch.replicas) != layout.dp or len(counts) != 1 or 0 in counts:
            raise ScenarioError(
                f"rl.trainer: the batch has {len(batch.replicas)} replicas with {sorted(counts)} "
                f"micro-batches and the layout dp={layout.dp}; make it with even_batch or "
                f"packed_batch for dp={layout.dp}"
            )
        count = counts.pop()
        if layout.schedule == "interleaved" and count % layout.pp:
            near = max(1, round(count / layout.pp)) * layout.pp
            raise ScenarioError(
                f"rl.trainer: {count} micro-batches per replica are not a multiple of pp="
                f"{layout.pp}, which schedule 'interleaved' needs; try {near}, or '1f1b'"
            )

    def _flops(self, tokens: int, squares: int) -> StepFlops:
        share = 1.0 - self.layout.skipped / self.layout.pp
        whole = step_flops(self.model, self.recipe, tokens, squares, self.kinds)
        return StepFlops(share * whole.model, share * whole.hardware)

    def _slowest(self, batch: Batch) -> tuple[MicroBatch, ...]:
        """The replica with most operations; all wait for it."""
        distinct = tuple(dict.fromkeys(batch.replicas))
        if len(distinct) == 1:
            return distinct[0]

        def work(replica: tuple[MicroBatch, ...]) -> float:
            tokens, squares = sum(m.tokens for m in replica), sum(m.squares for m in replica)
            return self._flops(tokens, squares).hardware

        return max(distinct, key=work)


def trainer(
    model: Model,
    gpu: Gpu,
    topology: Topology,
    layout: TrainingLayout,
    recipe: Recipe | None = None,
    *,
    devices: Sequence[int] | None = None,
    shelf: Shelf | None = None,
    nics: Nics | None = None,
) -> Trainer:
    """A trainer on a machine. Kernels are those of the GPU's calibrations, or of the nearest GPU's
    (`sim.perf.fitted`); `devices` of the topology are its first ones when left out; `nics` say
    which nodes do not reach each other by RDMA.

    Raises ScenarioError for a layout that does not divide the model or the machine.
    """
    chosen = recipe or Recipe()
    layout.check(model)
    check_recipe(layout, chosen, model)
    kernels = TrainingKernels(gpu, shelf or Shelf(gpu, ENGINES), model.hidden)
    wires, stages = (
        training_wires(topology, layout, devices, nics),
        stages_of(layout, model, chosen),
    )
    return Trainer(model, gpu, layout, chosen, wires, kernels, stages, model.layer_counts)


def plan_step(
    model: Model,
    gpu: Gpu,
    topology: Topology,
    layout: TrainingLayout,
    batch: Batch,
    recipe: Recipe | None = None,
    *,
    check: bool = True,
) -> TrainingStep:
    """One step of a trainer made for it; to plan many, keep the `trainer`."""
    return trainer(model, gpu, topology, layout, recipe).plan(batch, check=check)
