"""Every request is there from the start: an offline job."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from sim.rng import Draws
from sim.settings import settings
from sim.workload.source import OpenSource
from sim.workload.trace import Trace


@settings
class AtOnce:
    """All arrivals at time 0."""

    uses_trace_times: ClassVar[bool] = False

    def times(self, draws: Draws, n: int) -> NDArray[np.float64]:
        """(n,) zeros; nothing is drawn."""
        return np.zeros(n)

    def source(self, asks: Trace, draws: Draws) -> OpenSource:
        """Open load at these times."""
        return OpenSource(asks.timed(self.times(draws, len(asks))))
