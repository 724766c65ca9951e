"""Everyone is let in."""

from __future__ import annotations

from sim.settings import settings
from sim.workload.request import Ask


@settings
class Everyone:
    """No limit."""

    def admits(self, ask: Ask, inside: int) -> bool:
        """Yes."""
        return True
