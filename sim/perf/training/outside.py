"""What a step does outside the pipeline: exposed exchanges, streamed weights, the optimiser."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sim.catalog.gpu import Gpu
from sim.catalog.model import Model
from sim.perf.training.layer_cost import PassCost
from sim.perf.training.layout import TrainingLayout
from sim.perf.training.recipe import Recipe
from sim.perf.training.sizes import Params, Stage
from sim.perf.training.update import (
    Exchanges,
    exchanges,
    exposed_s,
    optimizer_s,
    streamed_s,
)
from sim.perf.training.wires import TrainingWires

Stages = tuple[tuple[PassCost, ...], ...]
"""By stage and chunk: what a micro-batch costs there."""


@dataclass(frozen=True, slots=True)
class Outside:
    """Prices what follows and precedes the pipeline."""

    model: Model
    gpu: Gpu
    layout: TrainingLayout
    recipe: Recipe
    wires: TrainingWires
    hbm_bytes_per_s: float
    parts: tuple[Stage, ...]
    """What the stages hold."""

    def seconds(self, micros: Sequence[Stages]) -> tuple[float, float, float]:
        """(gradients, weights, optimiser) of the stage where each sum is longest; exchanges only
        as far as they are exposed. `micros`: costs of every micro-batch, in order."""
        away = self.recipe.offload
        every = self.recipe.zero == 3 or (away is not None and away.weights)
        seen = micros if every else (micros[0], micros[-1])
        worst, update = (0.0, 0.0), 0.0
        for i in range(self.layout.pp):
            forward = [sum(c.forward_s for c in m[i]) for m in seen]
            backward = [sum(c.backward_s for c in m[i]) for m in seen]
            held, trained = self.parts[i].held, self.parts[i].trained
            layers = max(1, sum(self.parts[i].layers.values()))
            traffic = exchanges(self.wires, self.recipe, held, trained, layers)
            reduced, gathered = self._exposed(traffic, forward, backward)
            gathered += self._streamed_s(held, forward, backward)
            worst = max(worst, (reduced, gathered), key=sum)
            if self.recipe.trains:
                rate = self.hbm_bytes_per_s
                one = optimizer_s(self.gpu, rate, self.recipe, self.layout, trained)
                update = max(update, one)
        return worst[0] + self._tied_s(), worst[1], update

    def _exposed(
        self, traffic: Exchanges, forward: list[float], backward: list[float]
    ) -> tuple[float, float]:
        """(gradients, weights) that nothing hides. The last micro-batch's backward pass may hide
        the reduction, the first one's forward pass the gathering; sharded weights are gathered and
        their gradients reduced within every micro-batch."""
        over, other = self.recipe.gradient_overlap, self.recipe.weight_overlap
        if self.recipe.zero < 3:
            reduced = exposed_s(traffic.gradients_s, over, backward[-1])
            return reduced, exposed_s(traffic.weights_s, other, forward[0])
        reduced = sum(exposed_s(traffic.gradients_s, over, b) for b in backward)
        both = [f + b for f, b in zip(forward, backward, strict=True)]
        return reduced, sum(exposed_s(traffic.weights_s, other, each) for each in both)

    def _streamed_s(self, held: Params, forward: list[float], backward: list[float]) -> float:
        """Weights from host memory, for every pass, behind the compute of the pass; replicas bring
        a part each."""
        away = self.recipe.offload
        if away is None or not away.weights:
            return 0.0
        seconds = streamed_s(self.gpu, away, held, self.layout.dp)
        passes = [*forward, *backward] if self.recipe.trains else forward * self.recipe.forwards
        return sum(max(0.0, seconds - each) for each in passes)

    def _tied_s(self) -> float:
        """The sum of a tied table's gradients on the first and the last stage."""
        apart = self.layout.pp > 1 and not self.layout.spreads_vocabulary
        if not (self.model.tied_embeddings and apart and self.recipe.method == "full"):
            return 0.0
        table = self.model.vocab * self.model.hidden / self.layout.tp
        return float(self.wires.ends.all_reduce_s(table * self.recipe.gradient_bytes))
