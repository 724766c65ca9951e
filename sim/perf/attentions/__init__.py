"""What attention costs, one kind of the catalog a file: `GroupedAttention` is `grouped.py`.

Each file's class turns dimensions into an `AttentionWork`: operations and bytes per unit of what
the engine counts. The timer turns these into seconds; nothing here knows a GPU.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol

from sim.catalog.model import Attention
from sim.plugins import load


@dataclass(frozen=True, slots=True)
class AttentionWork:
    """One kind of work of a layer's attention on one device, per unit of what the engine counts."""

    kernel: str
    """What does it: `grouped`, `latent`, `sparse_latent`, `top_k` (kernels that were measured) or
    `stream` (anything else: the slower of its arithmetic and its traffic)."""
    attention: Attention
    tp: int
    """Devices that share the heads."""
    flops_per_context: float
    """Decode: operations per token attended to."""
    bytes_per_context: float
    """Decode: KV bytes read per token attended to."""
    bytes_per_sequence: float
    """Decode: query read, output and new KV written."""
    flops_per_pair: float
    """Prefill: operations per query-key pair."""
    flops_per_cached_key: float
    """Prefill: operations to rebuild one key and value of an earlier chunk (latent attention)."""
    bytes_per_key: float
    """Prefill: bytes read per key."""
    cap_tokens: int | None
    """Most tokens that one query attends to; None = all."""
    phase: Literal["both", "decode", "prefill"] = "both"
    """When the work is done."""
    compute: str = "bf16"
    """Format in which its products run where the GPU has units for it."""
    flops_per_token: float = 0.0
    """Prefill: operations per token that do not depend on its context (a state's update)."""

    @property
    def windowed(self) -> bool:
        """Whether a sliding window hides keys (and not a selection that leaves them out)."""
        return self.cap_tokens is not None and self.phase == "both"


@dataclass(frozen=True, slots=True)
class Kept:
    """What one layer keeps of a sequence on one device."""

    bytes_per_token: float
    cap_tokens: int | None
    """Most tokens that are kept (a sliding window); None = all."""
    bytes_per_sequence: float = 0.0
    """A state that does not grow."""


def recurrent_work(
    attention: Attention, tp: int, bytes_per_sequence: float, flops_per_token: float
) -> AttentionWork:
    """The work of a state that does not grow; heads are divided over `tp` devices."""
    return AttentionWork(
        kernel="stream",
        attention=attention,
        tp=tp,
        flops_per_context=0.0,
        bytes_per_context=0.0,
        bytes_per_sequence=bytes_per_sequence / tp,
        flops_per_pair=0.0,
        flops_per_cached_key=0.0,
        bytes_per_key=0.0,
        cap_tokens=None,
        flops_per_token=flops_per_token / tp,
    )


class AttentionCost(Protocol):
    """What every file here provides."""

    def matrices(self, attention: Attention, hidden: int, tp: int) -> dict[str, tuple[int, int]]:
        """Weight matrices on one of `tp` devices, name → (inputs, outputs)."""

    def work(self, attention: Attention, tp: int, kv_bytes: float) -> tuple[AttentionWork, ...]:
        """Work on one of `tp` devices; `kv_bytes` per element of the cache."""

    def kept(self, attention: Attention, tp: int, kv_bytes: float) -> tuple[Kept, ...]:
        """What a sequence occupies on one of `tp` devices."""


def cost_of(attention: Attention) -> AttentionCost:
    """The cost model of a catalog attention, found by its class name."""
    words = type(attention).__name__.removesuffix("Attention")
    kind = "".join(f"_{c.lower()}" if c.isupper() else c for c in words).removeprefix("_")
    cost: AttentionCost = load("sim.perf.attentions", kind)()
    return cost
