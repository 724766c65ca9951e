"""Every expert gets as many tokens as every other, as in AIConfigurator's `balanced` tables: few
tokens are spread over as many experts and devices as there are, so that small batches read more
weights, and devices hear of more tokens, than with chance alone (`uniform`)."""

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
