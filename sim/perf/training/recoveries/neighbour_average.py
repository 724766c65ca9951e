"""A lost stage becomes the average of its neighbours, and training needs more steps (CheckFree,
arXiv 2506.15461)."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from sim.perf.training.recoveries import Damage, NonNegative, Outage
from sim.settings import settings


@settings
class NeighbourAverage:
    """A spare takes the weighted average of the two neighbouring stages."""

    detect_s: NonNegative = 60.0
    """As of `Restart`."""
    extra_steps: Annotated[float, Field(ge=0)]
    """More steps per failure to the same loss: a property of model and data, to be given."""

    def outage(self, damage: Damage) -> Outage:
        """Two stages' weights over the link; no step is lost."""
        moving = 2.0 * damage.stage_bytes / damage.link_bytes_per_s
        return Outage(self.detect_s + moving, extra_steps=self.extra_steps)

    def overhead_s(self, forward_s: float, bubble_s: float) -> float:
        """None."""
        return 0.0
