"""Every token chooses its experts independently, each set equally likely: no skew but chance."""

from __future__ import annotations

from sim.perf import routing
from sim.settings import settings


@settings
class Uniform:
    """Skew by chance alone."""

    @property
    def epoch_steps(self) -> int:
        """0: expected loads, the same in every step."""
        return 0

    def law(self) -> routing.Routing:
        """As `sim.perf.routing.Uniform`."""
        return routing.Uniform()
