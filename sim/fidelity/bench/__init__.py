"""Measuring one's own GPU: what is timed, and what a device must offer for it.

The kernels are those of PyTorch (`torch_device.py`, the only file here that imports it, and
`torch_exchange.py` for several GPUs); which shapes are timed, when a time is settled and how tables
are written does not know of PyTorch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol


@dataclass(frozen=True, slots=True)
class Product:
    """Activation m × k by weight k × n: a row of `gemm`."""

    dtype: str
    """`bfloat16`, or `fp8` with the cast of activations."""
    m: int
    n: int
    k: int

    @property
    def nbytes(self) -> float:
        """Operands and result, once."""
        width = 1.0 if self.dtype == "fp8" else 2.0
        return self.n * self.k * width + 2.0 * self.m * (self.n + self.k)


@dataclass(frozen=True, slots=True)
class Prefill:
    """Causal attention of `batch` prompts of `length` tokens in bf16: `context_attention`."""

    batch: int
    length: int
    heads: int
    kv_heads: int
    head_dim: int

    @property
    def nbytes(self) -> float:
        """Queries, keys, values and result."""
        heads = 2 * self.heads + 2 * self.kv_heads
        return 2.0 * self.batch * self.length * heads * self.head_dim


@dataclass(frozen=True, slots=True)
class Decode:
    """One new token of `batch` sequences with `context` tokens each in bf16:
    `generation_attention`."""

    batch: int
    context: int
    heads: int
    kv_heads: int
    head_dim: int

    @property
    def nbytes(self) -> float:
        """Keys and values."""
        return 4.0 * self.batch * self.context * self.kv_heads * self.head_dim


@dataclass(frozen=True, slots=True)
class Copy:
    """A copy of `size` bytes inside the GPU's memory: read once, written once."""

    size: int

    @property
    def nbytes(self) -> float:
        """Both buffers."""
        return 2.0 * self.size


@dataclass(frozen=True, slots=True)
class Nothing:
    """The smallest kernel there is: one number."""

    @property
    def nbytes(self) -> float:
        """One number."""
        return 4.0


Kernel = Product | Prefill | Decode | Copy | Nothing


@dataclass(frozen=True, slots=True)
class Exchange:
    """A collective of NCCL in fp16: a row of `nccl`."""

    operation: str
    """`all_reduce`, `all_gather`, `reduce_scatter`, `alltoall`."""
    elements: int
    """Of the buffer that is reduced, the gathered one, or all that a device sends."""


@dataclass(frozen=True, slots=True)
class Facts:
    """What a device says of itself."""

    name: str
    """As its driver calls it: `NVIDIA H200`."""
    gpus: int
    memory_bytes: float
    software: str
    """`torch-2.9.0`: the engine of the tables."""
    nccl: str
    more: dict[str, Any] = field(default_factory=dict)
    """Multiprocessors, clocks, driver, versions: kept in `device.json`."""


class Prepared(Protocol):
    """A kernel with its buffers, ready to run."""

    @property
    def source(self) -> str:
        """Which implementation it is, for the column `kernel_source`."""

    @property
    def cycle(self) -> int:
        """Calls until the buffers that must not be in the cache are the first ones again."""

    def seconds(self, calls: int) -> float:
        """GPU time of so many calls in a row, launched as one CUDA graph."""


class Device(Protocol):
    """A GPU, with its neighbours."""

    def facts(self) -> Facts:
        """What it is."""

    def prepare(self, kernel: Kernel) -> Prepared | None:
        """Buffers and kernel; None where this device or its software cannot run it."""

    def host_seconds(self, launches: int, graph: bool) -> float:
        """Host time of launching so many smallest kernels one by one, or as graphs of one."""

    def exchange(self, gpus: int, calls: Sequence[Exchange]) -> list[float]:
        """Seconds of each collective among the first `gpus` GPUs."""
