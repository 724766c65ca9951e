"""Where a mixture of experts is bound: arithmetic intensity, the ridge, dispatch against compute.

The cost model of "LatentMoE", arXiv 2601.18089, section 2. As published it counts elements where
hardware moves bytes, one matrix an expert where SwiGLU has three, and one direction of NVLink for
dispatch plus combine; the defaults here are the published choices, the parameters undo them.
Notation: d = hidden (ℓ for experts in a latent), m = expert width, t = tokens per expert.
"""

from __future__ import annotations

from sim.errors import ScenarioError

DISPATCH_BYTES = 0.5
"""Bytes per element on the way to the experts: FP4 (arXiv 2601.18089, section 2.2)."""
COMBINE_BYTES = 2.0
"""Bytes per element on the way back: BF16 (arXiv 2601.18089, section 2.2)."""


def tokens_per_expert(tokens: float, top_k: int, experts: int) -> float:
    """t = tokens · K / N with balanced routing."""
    return tokens * top_k / experts


def ridge(flops_per_s: float, hbm_bytes_per_s: float) -> float:
    """Operations per byte (or element of one byte) above which a kernel is bound by arithmetic."""
    return flops_per_s / hbm_bytes_per_s


def expert_intensity(
    tokens: float, hidden: int, width: int, bytes_per_element: float = 1.0
) -> float:
    """Operations per unit moved of one expert matrix: 2·t·d·m / ((d·m + t·(d + m)) · bytes).

    `bytes_per_element` 1 is the paper's count of elements; 0.5 counts FP4 bytes.
    """
    moved = hidden * width + tokens * (hidden + width)
    return 2.0 * tokens * hidden * width / (moved * bytes_per_element)


def tokens_at_intensity(
    intensity: float, hidden: int, width: int, bytes_per_element: float = 1.0
) -> float:
    """Tokens per expert at which an expert reaches `intensity`: the inverse of
    `expert_intensity`, t = I·d·m / (2·d·m − I·(d + m)), I in elements.

    Raises ScenarioError when no number of tokens does: the limit is 2·d·m / (d + m).
    """
    per_element = intensity * bytes_per_element
    left = 2.0 * hidden * width - per_element * (hidden + width)
    if left <= 0:
        limit = 2.0 * hidden * width / (hidden + width) / bytes_per_element
        raise ScenarioError(
            f"intensity: {intensity:.0f} is never reached by an expert of {hidden} × {width}, "
            f"whose limit is {limit:.0f} operations per unit moved; take wider experts"
        )
    return per_element * hidden * width / left


def dispatch_bytes(
    experts: int,
    expert_parallel: int,
    tokens: float,
    hidden: int,
    per_element: float = DISPATCH_BYTES + COMBINE_BYTES,
) -> float:
    """Bytes per GPU and layer of dispatch plus combine: 2.5 · (N/EP) · t · d."""
    return per_element * (experts / expert_parallel) * tokens * hidden


def expert_flops(
    experts: int, expert_parallel: int, tokens: float, hidden: int, width: int, matrices: int = 1
) -> float:
    """Operations per GPU and layer of the routed experts: 2 · matrices · t · d · m · (N/EP)."""
    return 2.0 * matrices * tokens * hidden * width * (experts / expert_parallel)


def dispatch_to_compute(
    flops_per_s: float,
    link_bytes_per_s: float,
    width: int,
    per_element: float = DISPATCH_BYTES + COMBINE_BYTES,
    matrices: int = 1,
) -> float:
    """Time of dispatch plus combine over time of the experts: 5·F / (4·m·BW) as published.

    Both are ∝ tokens · d, so a latent changes neither; a narrower m raises the ratio.
    """
    return per_element * flops_per_s / (2.0 * matrices * width * link_bytes_per_s)
