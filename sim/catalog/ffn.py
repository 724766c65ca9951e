"""The kinds of feed-forward that a layer may have: dense, a mixture of experts, none.

`width` and `gated` may be read of any kind; of an MoE they are those of one routed expert.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class DenseFfn:
    """A feed-forward layer. Gated (SwiGLU) has three matrices, ungated (ReLU, GELU, ReLU²) two."""

    width: int
    gated: bool = True
    bias: bool = False


@dataclass(frozen=True, slots=True)
class MoeFfn:
    """A mixture of experts: `top_k` of `experts` per token plus `shared` experts for all."""

    experts: int
    top_k: int
    width: int
    """Intermediate width of one routed expert."""
    shared_width: int = 0
    """Summed intermediate width of the shared experts; 0 = none."""
    gated: bool = True
    bias: bool = False
    """Biases on expert matrices and router (gpt-oss)."""
    router_bias: bool = False
    """A correction bias per expert in the router (DeepSeek-V3)."""
    latent: int | None = None
    """LatentMoE (arXiv 2601.18089): width ℓ of what is dispatched. One matrix d → ℓ before
    dispatch, experts between ℓ and `width`, one matrix ℓ → d after combine; router and shared
    experts stay in d. None = dispatch in d."""
    shared_gate: bool = False
    """One sigmoid gate on the shared expert's output, d parameters (Qwen3-Next)."""


@dataclass(frozen=True, slots=True)
class NoFfn:
    """No feed-forward: a layer that is only attention or only a state. No matrices, no norm."""

    width: int = 0
    gated: bool = False
    bias: bool = False


Ffn = DenseFfn | MoeFfn | NoFfn
