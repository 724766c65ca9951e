"""How much of a peak is reached. Fractions and floors by architecture, each with its source.

`t = max(flops / (tensor · peak), bytes / (hbm · bandwidth), launch)` per kernel: the maximum is a
lower bound, the sum an upper one, and they differ by at most a factor of two.
"""

from __future__ import annotations

from dataclasses import dataclass

from sim.catalog.formats import Format
from sim.catalog.gpu import Gpu


@dataclass(frozen=True, slots=True)
class Efficiency:
    """Achieved fractions of peaks for one architecture."""

    tensor: dict[str, float]
    """Large matrix products: fraction of the dense peak, by compute format."""
    hbm: float
    """Weight-bound matrix products: fraction of memory bandwidth."""
    attention_tensor: float
    """Prefill attention: fraction of the 16-bit peak, causal operations counted once."""
    attention_hbm: float
    """Decode attention: fraction of memory bandwidth."""
    source: dict[str, str]

    def tensor_of(self, fmt: Format) -> float:
        """The fraction for products that run in `fmt`."""
        return self.tensor.get(fmt.compute, UNMEASURED_TENSOR)


UNMEASURED_TENSOR = 0.5
"""Achieved fraction in a format that was not measured. assumed: as the slowest measured ones."""
LAUNCH_S = 2e-6
"""Shortest kernel inside a CUDA graph. assumed: 2 µs, of the order of launch latencies."""
HOST_S = 5e-4
"""Scheduler, sampling and bookkeeping that a step cannot hide. assumed: 0.5 ms with CUDA graphs
and asynchronous scheduling; replace it with a measured figure."""

_KERNELS = "kernel tables of AIConfigurator (TensorRT-LLM 1.3, snapshot 2026-08-21)"

BY_ARCHITECTURE: dict[str, Efficiency] = {
    "ampere": Efficiency(
        tensor={"bf16": 0.82, "fp16": 0.82, "int8": 0.7},
        hbm=0.8,
        attention_tensor=0.5,
        attention_hbm=0.8,
        source={
            "tensor": f"{_KERNELS}: 8192³ product at 257 TFLOP/s of 312; assumed: int8",
            "hbm": "generic derate of 0.8 in AIConfigurator's system files",
            "attention_tensor": "assumed: as on Hopper",
            "attention_hbm": "generic derate of 0.8 in AIConfigurator's system files",
        },
    ),
    "hopper": Efficiency(
        tensor={"bf16": 0.78, "fp16": 0.78, "fp8": 0.6, "int8": 0.6},
        hbm=0.81,
        attention_tensor=0.54,
        attention_hbm=0.87,
        source={
            "tensor": f"{_KERNELS}: M = 8192 at 0.76–0.81 (bf16), 0.49–0.67 (fp8); assumed: int8",
            "hbm": f"{_KERNELS}: 8192² at M ≤ 64 reaches 0.81",
            "attention_tensor": f"{_KERNELS}: 64 heads, 16K tokens",
            "attention_hbm": f"{_KERNELS}: 64/8 heads, batch 8, 32K context",
        },
    ),
    "blackwell": Efficiency(
        tensor={"bf16": 0.7, "fp16": 0.7, "fp8": 0.55, "int8": 0.55, "fp4": 0.4},
        hbm=0.75,
        attention_tensor=0.5,
        attention_hbm=0.8,
        source={
            "tensor": f"{_KERNELS}: M = 8192 at 0.62–0.75, 0.45–0.62, 0.31–0.43; assumed: int8",
            "hbm": f"{_KERNELS}: 0.67 (8192²) to 0.82 (16384²) at M ≤ 64",
            "attention_tensor": f"{_KERNELS}: 64 heads, 16K tokens",
            "attention_hbm": f"{_KERNELS}: 64/8 heads, batch 8, 32K context",
        },
    ),
}

_UNMEASURED = Efficiency(
    tensor={"bf16": 0.6, "fp16": 0.6, "fp8": 0.5, "int8": 0.5, "fp4": 0.4},
    hbm=0.75,
    attention_tensor=0.4,
    attention_hbm=0.75,
    source=dict.fromkeys(
        ("tensor", "hbm", "attention_tensor", "attention_hbm"),
        "assumed: no measurement of this architecture at hand",
    ),
)


def efficiency_of(gpu: Gpu) -> Efficiency:
    """The figures for a GPU's architecture; those of an unmeasured one say `assumed`."""
    return BY_ARCHITECTURE.get(gpu.architecture, _UNMEASURED)
