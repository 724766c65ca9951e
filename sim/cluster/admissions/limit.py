"""At most so many requests at once; the others are rejected."""

from __future__ import annotations

from sim.settings import settings
from sim.units import PositiveInt
from sim.workload.request import Ask


@settings
class Limit:
    """Reject what comes while `requests` others are inside."""

    requests: PositiveInt

    def admits(self, ask: Ask, inside: int) -> bool:
        """Whether there is a place."""
        return inside < self.requests
