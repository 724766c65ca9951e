"""Helix parallelism on paper (arXiv 2507.07120): appendix A's roofline, HOP-B's pipeline, and who
keeps which new token."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class HelixRoofline:
    """Reads of one layer on one GPU: seconds of traffic, without communication."""

    q_heads: int
    kv_heads: int
    head_dim: int
    ffn_width: int
    bytes_per_value: float
    """Of weights and of the KV cache."""
    bytes_per_s: float

    def kv_s(self, batch: int, context: float, tpa: int, kvp: int = 1) -> float:
        """B · 2 · ⌈K/TPA⌉ · Hsz · (S/KVP) · b / BW."""
        numbers = batch * 2 * -(-self.kv_heads // tpa) * self.head_dim * (context / kvp)
        return numbers * self.bytes_per_value / self.bytes_per_s

    def weight_s(self, tpa: int, tpf: int) -> float:
        """(2·H·(Q/TPA)·Hsz + 2·H·⌈K/TPA⌉·Hsz + 3·H·F/TPF) · b / BW. Queries and output projection
        alike over TPA: the text of section 2.1.2 cuts the latter over all GPUs."""
        hidden = self.q_heads * self.head_dim
        queries = 2 * hidden * (self.q_heads / tpa) * self.head_dim
        keys = 2 * hidden * -(-self.kv_heads // tpa) * self.head_dim
        numbers = queries + keys + 3 * hidden * self.ffn_width / tpf
        return numbers * self.bytes_per_value / self.bytes_per_s


def all_to_all_elements(batch: int, hidden: int, kvp: int, tpa: int) -> float:
    """What one GPU sends to its KVP group for a step's partial results: B · H/TPA · (KVP − 1)/KVP
    (section 2.1.2), whatever the context."""
    return batch * hidden / tpa * (kvp - 1) / kvp


def hop_b_seconds(requests: int, compute_s: float, exchange_s: float) -> float:
    """n equal requests, each `compute_s` of attention and then `exchange_s`, as a pipeline: n·c + m
    where m ≤ c, else c + n·m (figure 3)."""
    if exchange_s <= compute_s:
        return requests * compute_s + exchange_s
    return compute_s + requests * exchange_s


def kept_tokens(context: int, kvp: int, append_tokens: int) -> tuple[int, ...]:
    """Tokens of a sequence that each of `kvp` groups keeps: runs of `append_tokens`, in turn
    (section 2.3). No two differ by more than one run."""
    runs, rest = divmod(context, append_tokens)
    turns, extra = divmod(runs, kvp)
    kept = [(turns + (group < extra)) * append_tokens for group in range(kvp)]
    kept[extra] += rest
    return tuple(kept)
