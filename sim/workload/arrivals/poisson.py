"""Many clients that know nothing of each other."""

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
class Poisson:
    """Independent exponential gaps of mean 1 / `rate_per_s`, the first before request 0."""

    uses_trace_times: ClassVar[bool] = False

    rate_per_s: Annotated[PerS, Field(gt=0)]
    """Requests per second, on average."""

    def times(self, draws: Draws, n: int) -> NDArray[np.float64]:
        """(n,) seconds; asking for more requests leaves the times of the first unchanged."""
        return np.cumsum(draws.exponential(np.arange(n))) / self.rate_per_s

    def source(self, asks: Trace, draws: Draws) -> OpenSource:
        """Open load at these times."""
        return OpenSource(asks.timed(self.times(draws, len(asks))))
