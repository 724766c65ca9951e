"""DeepSeek sparse attention (DSA): an indexer scores all past tokens, an exact top-k picks some,
and latent attention sees those.

Three kinds of work with three laws (TensorRT-LLM blogs 15 and 21): the indexer and the selection
grow with the context, attention does not beyond `index_topk`. Tensor parallelism divides the heads
of attention; every device scores and selects over all tokens.
"""

from __future__ import annotations

from sim.catalog.attention import SparseLatentAttention
from sim.catalog.counting import attention_matrices, index_bytes_per_token
from sim.perf.attentions import AttentionWork, Kept
from sim.perf.attentions.latent import Latent

RADIX_PASSES = 3.5
"""Passes of a radix select over 4-byte scores: 3 to 4 (TensorRT-LLM blog 21)."""
SCORE_BYTES = 4.0


class SparseLatent:
    """Latent attention behind an indexer."""

    def matrices(
        self, attention: SparseLatentAttention, hidden: int, tp: int
    ) -> dict[str, tuple[int, int]]:
        """Those of latent attention; the indexer's are copied to every device."""
        local = Latent().matrices(attention.latent, hidden, tp)
        whole = attention_matrices(attention, hidden)
        return local | {k: v for k, v in whole.items() if k.startswith("index_")}

    def work(
        self, attention: SparseLatentAttention, tp: int, kv_bytes: float
    ) -> tuple[AttentionWork, ...]:
        """Scores of `index_heads` heads per token, passes of the selection, then at most
        `index_topk` keys, absorbed in prefill too, since every query has keys of its own."""
        a = attention
        (seen,) = Latent().work(a.latent, tp, kv_bytes)
        scores = 2.0 * a.index_heads * a.index_dim
        keys = index_bytes_per_token(a)
        indexer = AttentionWork(
            kernel="stream",
            compute="fp8",
            attention=a,
            tp=tp,
            flops_per_context=scores,
            bytes_per_context=keys,
            bytes_per_sequence=a.index_heads * a.index_dim,
            flops_per_pair=scores,
            flops_per_cached_key=0.0,
            bytes_per_key=keys,
            cap_tokens=None,
        )
        selection = AttentionWork(
            kernel="top_k",
            attention=a,
            tp=tp,
            flops_per_context=0.0,
            bytes_per_context=RADIX_PASSES * SCORE_BYTES,
            bytes_per_sequence=a.index_topk * SCORE_BYTES,
            flops_per_pair=0.0,
            flops_per_cached_key=0.0,
            bytes_per_key=0.0,
            cap_tokens=None,
        )
        attended = AttentionWork(
            kernel="sparse_latent",
            attention=a.latent,
            tp=tp,
            flops_per_context=seen.flops_per_context,
            bytes_per_context=seen.bytes_per_context,
            bytes_per_sequence=seen.bytes_per_sequence,
            flops_per_pair=seen.flops_per_context,
            flops_per_cached_key=0.0,
            bytes_per_key=seen.bytes_per_key,
            cap_tokens=a.index_topk,
        )
        return indexer, selection, attended

    def kept(self, attention: SparseLatentAttention, tp: int, kv_bytes: float) -> tuple[Kept, ...]:
        """The latent of every token, and its index key (8 bit with scales), on every device."""
        (latent,) = Latent().kept(attention.latent, tp, kv_bytes)
        return (Kept(latent.bytes_per_token + index_bytes_per_token(attention), None),)
