"""The whole model on one device."""

from __future__ import annotations

from sim.catalog.model import Model
from sim.perf.spread import Spread
from sim.settings import settings


@settings
class Single:
    """One device, nothing divided."""

    def plan(self, model: Model) -> Spread:
        """One rank, one stage, one device."""
        return Spread(
            text="TP1",
            ranks=1,
            stages=1,
            attention_tp=1,
            ffn_tp=1,
            expert_parallel=1,
            expert_tp=1,
        )
