"""Step times of the timer of a plan, for shapes of one rank written down by hand."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from sim.perf.shape import MAX_CAPS, StepShape, capped_pairs, pairs
from sim.perf.step_timer import TableTimer
from sim.scenario.planning import Plan

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Priced:
    """The timer of the first engine of a plan with one rank."""

    timer: TableTimer
    layers: int
    """Layers of the model."""

    @classmethod
    def of(cls, plan: Plan) -> Priced:
        """Compile the price list."""
        pool = plan.pools[0]
        return cls(pool.settings.timer.compile(pool.tasks[0]), len(pool.model.layers))

    def prompts_s(self, batch: int, tokens: int) -> float:
        """Seconds of one pass over `batch` whole prompts of `tokens` each."""
        caps = [*self.timer.caps, *[0] * MAX_CAPS][:MAX_CAPS]
        shape = StepShape(
            prefills=batch,
            prefill_tokens=batch * tokens,
            prefill_pairs=batch * pairs(0, tokens),
            prefill_kv_tokens=batch * tokens,
            sampled=batch,
            capped_pairs=[batch * capped_pairs(0, tokens, cap) if cap else 0 for cap in caps],
        )
        return self.timer.price([shape])

    def decodes_s(self, batch: int, prompt: int, steps: int) -> Floats:
        """(steps,) seconds of successive decode steps of `batch` sequences that attend to
        `prompt` + 1 tokens in the first of them."""
        crossings = {cap - prompt for cap in self.timer.caps if 0 < cap - prompt < steps}
        bounds = [0, *sorted(crossings), steps]
        pieces = [
            self.timer.price_run([self._decoding(batch, prompt + 1 + first)], last - first)
            for first, last in pairwise(bounds)
        ]
        return np.concatenate(pieces)

    def _decoding(self, batch: int, context: int) -> StepShape:
        """The shape of a decode step of alike sequences."""
        shape = StepShape(decodes=batch, context_tokens=batch * context, sampled=batch)
        for i, cap in enumerate(self.timer.caps):
            shape.capped_tokens[i] = batch * min(context, cap)
            shape.below[i] = batch if context < cap else 0
        return shape

    def causes(self, columns: Mapping[str, Ints]) -> dict[str, Floats]:
        """Seconds by cause (`linear_s`, `attention_s`, …) of many shapes, as columns of equal
        length named like those of the `steps` table; the others are 0."""
        n = len(next(iter(columns.values())))
        names = ("decodes", "context_tokens", "sampled", "prefills", "prefill_tokens",
                 "prefill_pairs", "prefill_kv_tokens", "capped_1", "capped_2", "capped_pairs_1",
                 "capped_pairs_2")  # fmt: skip
        none = np.zeros(n, dtype=np.int64)
        shapes = {name: columns.get(name, none)[:, None] for name in names}
        return {k: v[:, 0] for k, v in self.timer.breakdown(shapes).items()}
