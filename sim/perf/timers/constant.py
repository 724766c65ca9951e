"""A fixed time per step and token: for theory, tests and back-of-the-envelope studies."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from sim.perf.price_list import HostTables, StageTables
from sim.perf.step_timer import TableTimer
from sim.perf.task import PriceTask
from sim.settings import settings
from sim.units import Duration


@settings
class Constant:
    """Every step takes `step_s`, plus `token_s` for each token that passes through it."""

    step_s: Duration
    token_s: Duration = 0.0

    def compile(self, task: PriceTask) -> TableTimer:
        """Stages of equal length; the fixed part of the first is host time."""
        stages = task.spread.stages
        tokens = np.arange(task.max_rank_tokens + 1, dtype=np.float64)
        once = self.step_s / stages
        first = self._stage(task, tokens * (self.token_s / stages))
        later = self._stage(task, tokens * (self.token_s / stages) + once)
        host = HostTables.constant(once, task.max_sampled)
        tables = (first, *(later,) * (stages - 1))
        return TableTimer(caps=task.caps(), tables=tables, host=host)

    def _stage(self, task: PriceTask, linear: NDArray[np.float64]) -> StageTables:
        return StageTables(
            linear=linear,
            head=np.zeros(task.max_sampled + 1),
            experts=np.zeros(task.spread.ranks * task.max_rank_tokens + 1),
            collective=np.zeros(task.max_rank_tokens + 1),
            attention=(),
        )

    def all_reduce(self) -> None:
        """Any: no step is priced by collectives."""

    def assumptions(self, task: PriceTask) -> list[dict[str, str]]:
        """The two figures, which the scenario states."""
        value = f"{self.step_s} s a step, {self.token_s} s a token"
        return [{"what": "step time", "value": value, "source": "assumed: constant timer"}]
