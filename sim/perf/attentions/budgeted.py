"""Grouped attention with a token budget in decode: a scan over what summarises the cache, then
attention to the keys selected. Prompts attend to everything."""

from __future__ import annotations

from dataclasses import replace

from sim.catalog.attention import BudgetedAttention
from sim.perf.attentions import AttentionWork, Kept
from sim.perf.attentions.grouped import Grouped


class Budgeted:
    """Three works: prompts in full, the scan, and the keys within the budget."""

    def matrices(
        self, attention: BudgetedAttention, hidden: int, tp: int
    ) -> dict[str, tuple[int, int]]:
        """Those of grouped attention."""
        return Grouped().matrices(attention, hidden, tp)

    def work(
        self, attention: BudgetedAttention, tp: int, kv_bytes: float
    ) -> tuple[AttentionWork, ...]:
        """The scan reads `scan_fraction` of every pair and scores as much of it."""
        (whole,) = Grouped().work(attention, tp, kv_bytes)
        prompts = replace(whole, phase="prefill")
        seen = replace(whole, phase="decode", cap_tokens=attention.budget_tokens)
        if not attention.scan_fraction:
            return prompts, seen
        scan = replace(
            whole,
            kernel="stream",
            phase="decode",
            cap_tokens=None,
            flops_per_context=whole.flops_per_context * attention.scan_fraction,
            bytes_per_context=whole.bytes_per_context * attention.scan_fraction,
            bytes_per_sequence=0.0,
        )
        return prompts, scan, seen

    def kept(self, attention: BudgetedAttention, tp: int, kv_bytes: float) -> tuple[Kept, ...]:
        """Pairs and their summaries, or what a compression leaves of them."""
        (whole,) = Grouped().kept(attention, tp, kv_bytes)
        return (Kept(whole.bytes_per_token * attention.kept_fraction, None),)
