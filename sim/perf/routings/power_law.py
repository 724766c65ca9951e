"""Some experts are popular: their loads follow a power law, and the fullest rank sets the time."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from sim.perf import routing
from sim.settings import settings


@settings
class PowerLaw:
    """Loads drawn from p(x) ∝ x^(−exponent)."""

    exponent: Annotated[float, Field(gt=0)] = 1.2
    """As in AIConfigurator's tables. Most uneven near 1.5; 0.2 and 5 are nearly even."""

    def __post_init__(self) -> None:
        routing.PowerLaw(self.exponent)

    @property
    def epoch_steps(self) -> int:
        """0: expected loads, the same in every step."""
        return 0

    def law(self) -> routing.Routing:
        """As `sim.perf.routing.PowerLaw`."""
        return routing.PowerLaw(self.exponent)
