"""How work overlaps inside a step, one way a file. An overlap is its settings; `streams(task)` says
which kinds of work run side by side and how much each slows the other."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from sim.perf.streams import Join

if TYPE_CHECKING:
    from sim.perf.task import PriceTask


class Overlap(Protocol):
    """What every file here provides."""

    def streams(self, task: PriceTask) -> Join | None:
        """The streams of a step, or None when everything runs one after the other."""

    def parts(self, task: PriceTask) -> int:
        """Parts into which the batch of a step is cut, so that they run side by side."""

    def assumptions(self, task: PriceTask) -> list[dict[str, str]]:
        """Figures of interference that the prices lean on: what, value, source."""
