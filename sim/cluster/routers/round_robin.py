"""One seat after the other, whatever they are doing."""

from __future__ import annotations

from dataclasses import dataclass

from sim.cluster.view import View
from sim.rng import Draws
from sim.settings import settings
from sim.workload.request import Ask


@dataclass(eq=False, slots=True)
class _Turn:
    served: int = 0

    def pick(self, ask: Ask, view: View) -> int:
        seat = self.served % len(view)
        self.served += 1
        return seat


@settings
class RoundRobin:
    """Seats in turn."""

    def start(self, draws: Draws) -> _Turn:
        """Begin with the first seat."""
        return _Turn()
