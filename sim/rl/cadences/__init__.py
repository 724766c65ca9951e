"""Who waits for whom in a loop, one cadence a file.

A cadence is its settings; `play(loop)` is the trainer's day as a process: submit prompts, wait for
groups, train, move weights. What it may do is in `sim.rl.loop.Loop`.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import TYPE_CHECKING, Annotated, Protocol

from simpy.events import Event

from sim.plugins import policy

if TYPE_CHECKING:
    from sim.rl.loop import Loop

Steps = Generator[Event, None, None]
"""A process, or a part of one."""


class Cadence(Protocol):
    """What every file here provides."""

    def check(self, colocated: bool, pulls: bool) -> None:
        """ValueError where the trainer's placement, or engines that do not pull their weights, do
        not go with it."""

    def play(self, loop: Loop) -> Steps:
        """All steps of the loop."""

    def assumptions(self) -> list[dict[str, str]]:
        """Figures that it leans on: what, value, source."""


CadenceSetting = Annotated[Cadence, policy("sim.rl.cadences")]
"""The annotation of a setting that names one."""
