"""Which scored groups are worth training on, one rule a file."""

from __future__ import annotations

from typing import Annotated, Protocol

from sim.plugins import policy
from sim.rl.samples import Group
from sim.rng import Draws


class RunningFilter(Protocol):
    """A rule at work."""

    def keeps(self, group: Group) -> bool:
        """Whether a group whose rewards are known is trained on."""


class Filter(Protocol):
    """What every file here provides: settings that start a rule."""

    def start(self, draws: Draws) -> RunningFilter:
        """A rule with its own random numbers."""

    def assumptions(self) -> list[dict[str, str]]:
        """Figures that it leans on: what, value, source."""


FilterSetting = Annotated[Filter, policy("sim.rl.filters")]
"""The annotation of a setting that names one."""
