"""The routed experts of one layer on one device, with balanced routing."""

from __future__ import annotations

import numpy as np

from sim.catalog.model import MoeFfn
from sim.perf.operators.gemm import Gemm, Tokens


def touched(experts: int, top_k: int, tokens: Tokens) -> Tokens:
    """Expected distinct experts that `tokens` tokens reach: E · (1 − (1 − k/E)ᵗ), independent
    uniform choices."""
    return experts * (1.0 - (1.0 - top_k / experts) ** tokens)


def experts_seconds(
    gemm: Gemm, ffn: MoeFfn, hidden: int, tokens: Tokens, *, parallel: int, tp: int
) -> Tokens:
    """Grouped products of the experts that one of `parallel` groups holds, each cut over `tp`.

    `tokens` are all tokens of the step; this device gets 1/parallel of their choices and reads the
    weights of those of its experts that any token chose.
    """
    matrices = 3 if ffn.gated else 2
    weights = matrices * hidden * (ffn.width / tp)
    choices = tokens * ffn.top_k / parallel
    read = touched(ffn.experts, ffn.top_k, tokens) / parallel
    flops = 2.0 * choices * weights
    activations = choices * (2 * hidden + matrices * ffn.width / tp) * gemm.activation_bytes
    traffic = read * weights * gemm.weight_bytes + activations
    once = np.maximum(
        np.maximum(flops / gemm.flops_per_s, traffic / gemm.bytes_per_s), 2 * gemm.launch_s
    )
    return np.where(tokens > 0, once, 0.0)
