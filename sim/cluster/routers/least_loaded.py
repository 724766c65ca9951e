"""The seat with the fewest requests; of equal ones, the one with the fewest prompt tokens to do."""

from __future__ import annotations

from dataclasses import dataclass

from sim.cluster.view import View
from sim.rng import Draws
from sim.settings import settings
from sim.workload.request import Ask


@dataclass(frozen=True, slots=True)
class _Least:
    def pick(self, ask: Ask, view: View) -> int:
        return int(view.load.argmin())


@settings
class LeastLoaded:
    """Join the shortest queue, counted in requests, then in prompt tokens."""

    def start(self, draws: Draws) -> _Least:
        """It keeps no state."""
        return _Least()
