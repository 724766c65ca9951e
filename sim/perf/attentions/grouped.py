"""Multi-head, grouped-query and multi-query attention, full or in a sliding window."""

from __future__ import annotations

from sim.catalog.counting import attention_matrices
from sim.catalog.model import GroupedAttention
from sim.perf.attentions import AttentionWork, Kept
from sim.perf.spread import kv_heads_per_device

ACTIVATION_BYTES = 2.0
"""Activations are 16 bit."""


class Grouped:
    """Queries of `q_heads` heads share `kv_heads` keys and values."""

    def matrices(
        self, attention: GroupedAttention, hidden: int, tp: int
    ) -> dict[str, tuple[int, int]]:
        """q and o are cut by heads; k and v too, until every device holds one (then copied)."""
        whole = attention_matrices(attention, hidden)
        kv_width = kv_heads_per_device(attention, tp) * attention.head_dim
        q, o = whole["q"], whole["o"]
        return {
            "qkv": (q[0], q[1] // tp + 2 * kv_width),
            "o": (o[0] // tp, o[1]),
        }

    def work(
        self, attention: GroupedAttention, tp: int, kv_bytes: float
    ) -> tuple[AttentionWork, ...]:
        """Scores and weighted values: 2 · 2 · heads · head_dim operations per pair."""
        heads = attention.q_heads // tp
        kv_elements = 2 * kv_heads_per_device(attention, tp) * attention.head_dim
        per_pair = 4.0 * heads * attention.head_dim
        work = AttentionWork(
            kernel="grouped",
            attention=attention,
            tp=tp,
            flops_per_context=per_pair,
            bytes_per_context=kv_elements * kv_bytes,
            bytes_per_sequence=2 * heads * attention.head_dim * ACTIVATION_BYTES
            + kv_elements * kv_bytes,
            flops_per_pair=per_pair,
            flops_per_cached_key=0.0,
            bytes_per_key=kv_elements * kv_bytes,
            cap_tokens=attention.window_tokens,
        )
        return (work,)

    def kept(self, attention: GroupedAttention, tp: int, kv_bytes: float) -> tuple[Kept, ...]:
        """Keys and values of the device's heads, in a window where there is one."""
        elements = 2 * kv_heads_per_device(attention, tp) * attention.head_dim
        return (Kept(elements * kv_bytes, attention.window_tokens),)
