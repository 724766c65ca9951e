"""LatentMoE: what moving the experts into a narrower space does to bytes and counts.

Source: "LatentMoE: Toward Optimal Accuracy per FLOP and Parameter in Mixture of Experts",
arXiv 2601.18089, table 1. Notation: d = hidden, ℓ = latent width, α = d/ℓ, m = expert width,
N experts, K per token. Formulae with time in them are in `sim.perf.ratios`.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

from sim.catalog.counting import expert_params
from sim.catalog.ffn import MoeFfn
from sim.errors import ScenarioError

Variant = Literal["accuracy", "efficiency"]


def latent_moe(ffn: MoeFfn, hidden: int, alpha: int, variant: Variant = "accuracy") -> MoeFfn:
    """`ffn` with its experts moved from d to ℓ = d/α.

    Both variants have α·N experts, each α times smaller. `efficiency` keeps K per token: dispatch
    volume and active expert bytes fall by α at equal quality. `accuracy` (the paper's default)
    takes α·K: both stay, quality rises.
    """
    if ffn.latent is not None:
        raise ScenarioError(f"latent: the experts are already in a latent of {ffn.latent}")
    if alpha < 1 or hidden % alpha:
        raise ScenarioError(
            f"alpha: {alpha} does not divide the hidden size {hidden}; write a divisor of it"
        )
    top_k = ffn.top_k * alpha if variant == "accuracy" else ffn.top_k
    return replace(ffn, experts=ffn.experts * alpha, top_k=top_k, latent=hidden // alpha)


def dispatch_elements(ffn: MoeFfn, hidden: int) -> int:
    """Numbers that one token sends to its experts, and gets back: K·d, or K·ℓ with a latent."""
    return ffn.top_k * (ffn.latent or hidden)


def active_expert_params(ffn: MoeFfn, hidden: int) -> int:
    """Parameters of the routed experts that one token reaches: K · matrices · (d or ℓ) · m."""
    return ffn.top_k * expert_params(ffn, hidden)


def projection_params(ffn: MoeFfn, hidden: int) -> int:
    """Parameters of the two shared projections of one layer: 2·d·ℓ; 0 without a latent."""
    return 2 * hidden * (ffn.latent or 0)


def projection_flops_per_token(ffn: MoeFfn, hidden: int) -> int:
    """Operations of the two projections per token and layer: 2 · 2·d·ℓ."""
    return 2 * projection_params(ffn, hidden)
