"""How much of a run is written down: everything, unless the largest jobs ask for less."""

from __future__ import annotations

from typing import Literal

from sim.settings import settings

Clock = Literal["steps", "runs"]


@settings
class Record:
    """What a run leaves behind."""

    clock: Clock = "steps"
    """`steps` keeps the end of every step (8 bytes each, in memory until the run is over). `runs`
    keeps bounds and number of steps of every run of steps with the same members: steps in between
    count as equally long, so that gaps between tokens are means over their run."""
    attribution: bool = True
    """Split every request's TTFT and E2E into parts."""

    def plain(self) -> dict[str, object]:
        """As `run.json` records it."""
        return {"clock": self.clock, "attribution": self.attribution}
