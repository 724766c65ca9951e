"""Popular experts that change: every so many steps the loads are drawn anew from a power law."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from sim.perf import routing
from sim.settings import settings
from sim.units import PositiveInt


@settings
class Drifting:
    """Loads drawn from p(x) ∝ x^(−exponent) for each engine and epoch of steps."""

    exponent: Annotated[float, Field(gt=0)] = 1.2
    """As in AIConfigurator's tables. Most uneven near 1.5; 0.2 and 5 are nearly even."""
    epoch_steps: PositiveInt = 1000
    """Steps for which a draw holds. assumed: popular experts change with the requests in the
    batch, over about the length of an answer."""

    def __post_init__(self) -> None:
        routing.PowerLaw(self.exponent)

    def law(self) -> routing.Routing:
        """As `sim.perf.routing.PowerLaw`."""
        return routing.PowerLaw(self.exponent)
