"""Requests arrive when the trace says."""

from __future__ import annotations

from typing import ClassVar

from sim.rng import Draws
from sim.settings import settings
from sim.workload.source import OpenSource
from sim.workload.trace import Trace


@settings
class TraceTimes:
    """The times of the trace, unchanged."""

    uses_trace_times: ClassVar[bool] = True

    def source(self, asks: Trace, draws: Draws) -> OpenSource:
        """Open load; nothing is drawn."""
        return OpenSource(asks)
