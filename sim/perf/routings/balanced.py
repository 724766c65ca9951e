"""Every expert gets as many tokens as every other: what balancing losses and replicas aim at."""

from __future__ import annotations

from sim.perf import routing
from sim.settings import settings


@settings
class Balanced:
    """No skew."""

    @property
    def epoch_steps(self) -> int:
        """0: expected loads, the same in every step."""
        return 0

    def law(self) -> routing.Routing:
        """As `sim.perf.routing.Balanced`."""
        return routing.Balanced()
