"""Multi-head latent attention (DeepSeek-V2, section 2.1).

Decode uses the absorbed form: every head attends to the shared latent of `kv_lora + rope` numbers,
so the cache is read once for all heads. Prefill rebuilds keys and values per head; a later chunk
rebuilds those of the earlier ones again.
"""

from __future__ import annotations

from sim.catalog.counting import attention_matrices
from sim.catalog.model import LatentAttention
from sim.perf.attentions import AttentionWork, Kept
from sim.perf.attentions.grouped import ACTIVATION_BYTES


class Latent:
    """One latent for all heads, copied to every tensor-parallel device."""

    def matrices(
        self, attention: LatentAttention, hidden: int, tp: int
    ) -> dict[str, tuple[int, int]]:
        """The down-projections are copied; what leads into or out of heads is cut by heads."""
        local = {}
        for name, (inputs, outputs) in attention_matrices(attention, hidden).items():
            if name in ("q", "q_b", "kv_b"):
                local[name] = (inputs, outputs // tp)
            elif name == "o":
                local[name] = (inputs // tp, outputs)
            else:
                local[name] = (inputs, outputs)
        return local

    def work(
        self, attention: LatentAttention, tp: int, kv_bytes: float
    ) -> tuple[AttentionWork, ...]:
        """Operations per pair: absorbed 2·(kv_lora + rope) + 2·kv_lora a head, else the head's."""
        a, heads = attention, attention.q_heads // tp
        latent = a.kv_lora + a.rope_dim
        work = AttentionWork(
            kernel="latent",
            attention=attention,
            tp=tp,
            flops_per_context=2.0 * heads * (latent + a.kv_lora),
            bytes_per_context=latent * kv_bytes,
            bytes_per_sequence=heads * (latent + a.kv_lora) * ACTIVATION_BYTES + latent * kv_bytes,
            flops_per_pair=2.0 * heads * (a.nope_dim + a.rope_dim + a.v_dim),
            flops_per_cached_key=2.0 * a.kv_lora * heads * (a.nope_dim + a.v_dim),
            bytes_per_key=latent * kv_bytes,
            cap_tokens=None,
        )
        return (work,)

    def kept(self, attention: LatentAttention, tp: int, kv_bytes: float) -> tuple[Kept, ...]:
        """One latent and its positional part, on every device."""
        return (Kept((attention.kv_lora + attention.rope_dim) * kv_bytes, None),)
