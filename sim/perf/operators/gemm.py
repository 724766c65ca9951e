"""A weight matrix applied to a batch of tokens."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Tokens = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Gemm:
    """Achieved rates of matrix products on one device and in one format."""

    flops_per_s: float
    bytes_per_s: float
    weight_bytes: float
    """Bytes per weight."""
    activation_bytes: float
    launch_s: float

    def seconds(self, tokens: Tokens, inputs: int, outputs: int, count: int = 1) -> Tokens:
        """`count` products of (tokens × inputs) by (inputs × outputs): the slower of arithmetic
        and traffic, at least a launch each; 0 where there are no tokens."""
        flops = 2.0 * tokens * inputs * outputs
        traffic = inputs * outputs * self.weight_bytes + tokens * (
            (inputs + outputs) * self.activation_bytes
        )
        once = np.maximum(
            np.maximum(flops / self.flops_per_s, traffic / self.bytes_per_s), self.launch_s
        )
        return np.where(tokens > 0, count * once, 0.0)

    def elementwise_seconds(self, tokens: Tokens, numbers: float, kernels: int) -> Tokens:
        """`kernels` passes that together read or write `numbers` activations per token."""
        once = np.maximum(
            tokens * numbers * self.activation_bytes / self.bytes_per_s, kernels * self.launch_s
        )
        return np.where(tokens > 0, once, 0.0)
