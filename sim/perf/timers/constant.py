"""A fixed time per step and token: for theory, tests and back-of-the-envelope studies."""

from __future__ import annotations

import numpy as np

from sim.perf.step_timer import StageTables, TableTimer
from sim.perf.task import PriceTask
from sim.settings import settings
from sim.units import Duration


@settings
class Constant:
    """Every step takes `step_s`, plus `token_s` for each token that passes through it."""

    step_s: Duration
    token_s: Duration = 0.0

    def compile(self, task: PriceTask) -> TableTimer:
        """One stage whose only cost is by tokens; with stages, each takes an equal part."""
        stages, ranks = task.spread.stages, task.spread.ranks
        tokens = np.arange(task.max_rank_tokens + 1, dtype=np.float64)
        nothing = np.zeros(task.max_rank_tokens + 1)
        stage = StageTables(
            linear=tokens * (self.token_s / stages),
            head=np.zeros(task.max_sampled + 1),
            experts=np.zeros(ranks * task.max_rank_tokens + 1),
            collective=nothing,
            host_s=self.step_s / stages,
            attention=(),
        )
        return TableTimer(caps=task.caps(), tables=(stage,) * stages)

    def assumptions(self, task: PriceTask) -> list[dict[str, str]]:
        """The two figures, which the scenario states."""
        value = f"{self.step_s} s a step, {self.token_s} s a token"
        return [{"what": "step time", "value": value, "source": "assumed: constant timer"}]
