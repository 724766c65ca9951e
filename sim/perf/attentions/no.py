"""A layer without token mixing: no work and nothing kept."""

from __future__ import annotations

from sim.catalog.attention import NoAttention
from sim.perf.attentions import AttentionWork, Kept


class No:
    """Nothing."""

    def matrices(self, attention: NoAttention, hidden: int, tp: int) -> dict[str, tuple[int, int]]:
        """None."""
        return {}

    def work(self, attention: NoAttention, tp: int, kv_bytes: float) -> tuple[AttentionWork, ...]:
        """None."""
        return ()

    def kept(self, attention: NoAttention, tp: int, kv_bytes: float) -> tuple[Kept, ...]:
        """Nothing."""
        return ()
