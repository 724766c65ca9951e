"""The routed experts of one layer on one device, with balanced routing."""

from __future__ import annotations

import numpy as np

from sim.perf.layer_work import Routed
from sim.perf.operators.gemm import Gemm, Tokens


def touched(experts: int, top_k: int, tokens: Tokens) -> Tokens:
    """Expected distinct experts that `tokens` tokens reach: E · (1 − (1 − k/E)ᵗ), independent
    uniform choices."""
    return experts * (1.0 - (1.0 - top_k / experts) ** tokens)


def experts_seconds(gemm: Gemm, routed: Routed, tokens: Tokens) -> Tokens:
    """Grouped products of the experts that one of `parallel` groups holds, each cut over devices.

    `tokens` are all tokens of the step; this device gets 1/parallel of their choices and reads the
    weights of those of its experts that any token chose.
    """
    ffn = routed.ffn
    matrices = 3 if ffn.gated else 2
    weights = matrices * routed.hidden * routed.width
    choices = tokens * ffn.top_k / routed.parallel
    read = touched(ffn.experts, ffn.top_k, tokens) / routed.parallel
    flops = 2.0 * choices * weights
    activations = choices * (2 * routed.hidden + matrices * routed.width) * gemm.activation_bytes
    traffic = read * weights * gemm.weight_bytes + activations
    once = np.maximum(
        np.maximum(flops / gemm.flops_per_s, traffic / gemm.bytes_per_s), 2 * gemm.launch_s
    )
    return np.where(tokens > 0, once, 0.0)
