"""Where step times come from, one way a file. A timer is its settings and compiles a price list."""

from __future__ import annotations

from typing import Protocol

from sim.perf.step_timer import TableTimer
from sim.perf.task import PriceTask


class Timer(Protocol):
    """What every file here provides."""

    def compile(self, task: PriceTask) -> TableTimer:
        """The price list of one engine."""

    def all_reduce(self) -> str | None:
        """Engine whose own all-reduce kernels are taken; `none` = NCCL alone, None = any."""

    def assumptions(self, task: PriceTask) -> list[dict[str, str]]:
        """Figures that the prices lean on: what, value, source."""
