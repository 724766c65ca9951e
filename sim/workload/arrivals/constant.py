"""Requests arrive at even intervals."""

from __future__ import annotations

from typing import Annotated, ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from sim.rng import Draws
from sim.settings import settings
from sim.units import PerS
from sim.workload.source import OpenSource
from sim.workload.trace import Trace


@settings
class Constant:
    """One arrival every 1 / `rate_per_s` seconds, the first at time 0."""

    uses_trace_times: ClassVar[bool] = False

    rate_per_s: Annotated[PerS, Field(gt=0)]
    """Requests per second."""

    def times(self, draws: Draws, n: int) -> NDArray[np.float64]:
        """(n,) seconds; nothing is drawn."""
        return np.arange(n) / self.rate_per_s

    def source(self, asks: Trace, draws: Draws) -> OpenSource:
        """Open load at these times."""
        return OpenSource(asks.timed(self.times(draws, len(asks))))
