"""Nothing overlaps: kernels and collectives run one after the other."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sim.settings import settings

if TYPE_CHECKING:
    from sim.perf.task import PriceTask


@settings
class NoOverlap:
    """One stream."""

    def streams(self, task: PriceTask) -> None:
        """None: one after the other."""

    def parts(self, task: PriceTask) -> int:
        """The whole batch at once."""
        return 1

    def assumptions(self, task: PriceTask) -> list[dict[str, str]]:
        """None."""
        return []
