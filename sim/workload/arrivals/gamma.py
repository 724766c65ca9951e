"""Burstier, or more regular, than independent clients."""

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
class Gamma:
    """Independent gamma gaps of mean 1 / `rate_per_s`: shape 1 / cv², scale cv² / rate.

    cv = 1 is Poisson; above 1 requests come in bursts.
    """

    uses_trace_times: ClassVar[bool] = False

    rate_per_s: Annotated[PerS, Field(gt=0)]
    """Requests per second, on average."""
    cv: Annotated[float, Field(gt=0)]
    """Standard deviation of the gaps over their mean."""

    def times(self, draws: Draws, n: int) -> NDArray[np.float64]:
        """(n,) seconds; asking for more requests leaves the times of the first unchanged."""
        gaps = draws.generator().gamma(self.cv**-2, self.cv**2, size=n)
        return np.cumsum(gaps) / self.rate_per_s

    def source(self, asks: Trace, draws: Draws) -> OpenSource:
        """Open load at these times."""
        return OpenSource(asks.timed(self.times(draws, len(asks))))
