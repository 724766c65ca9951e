"""Every stage also computes the next one's forward pass, always (Bamboo, arXiv 2204.12013)."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from sim.perf.training.recoveries import Damage, NonNegative, Outage
from sim.settings import settings


@settings
class Redundant:
    """The stage before has the weights and the forward results of the failed one."""

    detect_s: NonNegative = 60.0
    """As of `Restart`."""
    bubble_use: Annotated[float, Field(ge=0, le=1)] = 0.0
    """Part of the pipeline's bubble that the redundant passes fill (Bamboo fills it)."""

    def outage(self, damage: Damage) -> Outage:
        """The weights move to a spare; no step is lost."""
        return Outage(self.detect_s + damage.stage_bytes / damage.link_bytes_per_s)

    def overhead_s(self, forward_s: float, bubble_s: float) -> float:
        """Every step is longer by one stage's forward passes, less what the bubble takes in."""
        return max(0.0, forward_s - self.bubble_use * bubble_s)
