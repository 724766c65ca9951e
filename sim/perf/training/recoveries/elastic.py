"""The survivors edit their communicators, move layers and go on with fewer devices (ElasWave)."""

from __future__ import annotations

from sim.errors import ScenarioError
from sim.perf.training.recoveries import ALONE, Damage, NonNegative, Outage
from sim.settings import settings


@settings
class Elastic:
    """The survivors go on: no checkpoint is loaded and no step is lost but the one at work."""

    detect_s: NonNegative = 60.0
    """As of `Restart`."""
    edit_s: NonNegative = 1.0
    """Communicators edited in place: less than a second (ElasWave, abstract)."""
    replace_s: NonNegative = 3600.0
    """Until a replacement joins. assumed: an hour."""

    def outage(self, damage: Damage) -> Outage:
        """detect + edit + the largest move between disjoint pairs. Raises ScenarioError where no
        replica of the failed stage is left."""
        if damage.speed <= 0.0:
            raise ScenarioError(ALONE)
        moving = damage.moved_bytes / damage.link_bytes_per_s
        return Outage(
            self.detect_s + self.edit_s + moving, speed=damage.speed, slow_s=self.replace_s
        )

    def overhead_s(self, forward_s: float, bubble_s: float) -> float:
        """None."""
        return 0.0
