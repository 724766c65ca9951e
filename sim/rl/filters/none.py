"""Every group is trained on."""

from __future__ import annotations

from sim.rl.samples import Group
from sim.rng import Draws
from sim.settings import settings


class _All:
    def keeps(self, group: Group) -> bool:
        return True


@settings
class NoFilter:
    """Nothing is dropped."""

    def start(self, draws: Draws) -> _All:
        """It keeps no state."""
        return _All()

    def assumptions(self) -> list[dict[str, str]]:
        """None."""
        return []
