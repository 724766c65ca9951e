"""The seat with the fewest requests; of equal ones, the one with the fewest prompt tokens to do."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from sim.cluster.view import View
from sim.rng import Draws
from sim.settings import settings
from sim.workload.request import Ask


@dataclass(frozen=True, slots=True)
class _Least:
    def pick(self, ask: Ask, view: View) -> int:
        requests = view.requests
        first = int(requests.argmin())
        equal = np.flatnonzero(requests == requests[first])
        return first if len(equal) == 1 else int(equal[view.tokens[equal].argmin()])


@settings
class LeastLoaded:
    """Join the shortest queue, counted in requests, then in prompt tokens."""

    def start(self, draws: Draws) -> _Least:
        """It keeps no state."""
        return _Least()
