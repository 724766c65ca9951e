"""A GPU that is not there: surfaces say how long its kernels take, and noise is added."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from sim.catalog.formats import FORMATS
from sim.catalog.gpu import Gpu, load_gpu
from sim.fidelity.bench import Copy, Decode, Exchange, Facts, Kernel, Nothing, Prefill, Product
from sim.network.collectives import default_collectives
from sim.network.topology import load_topology
from sim.perf.surfaces.decode_attention import DecodeAttention
from sim.perf.surfaces.gemm import Gemm
from sim.perf.surfaces.prefill_attention import PrefillAttention

LAUNCH_S = 5e-6


@dataclass
class FakeKernel:
    """Takes what it is told to, within a percent, and counts its calls."""

    call_s: float
    source: str = "fake"
    cycle: int = 1
    noise: float = 0.0
    asked: list[int] = field(default_factory=list)

    def seconds(self, calls: int) -> float:
        self.asked.append(calls)
        wobble = 1.0 + self.noise * np.sin(12.9898 * len(self.asked))
        return calls * self.call_s * float(wobble)


@dataclass
class FakeGpu:
    """An H200 with eight neighbours, or any number."""

    name: str = "NVIDIA H200"
    gpus: int = 1
    gemm: Gemm = field(default_factory=lambda: Gemm(compute=0.7, hbm=0.65, stream=0.6))
    fp8: bool = True
    noise: float = 0.01
    gpu: Gpu = field(default_factory=lambda: load_gpu("h200"))

    def facts(self) -> Facts:
        return Facts(self.name, self.gpus, 141e9, "torch-2.9.1", "2.27.5", {"sm_count": 132})

    def prepare(self, kernel: Kernel) -> FakeKernel | None:
        if isinstance(kernel, Product) and kernel.dtype == "fp8" and not self.fp8:
            return None
        return FakeKernel(float(self.call_s(kernel)), noise=self.noise)

    def call_s(self, kernel: Kernel) -> float:
        if isinstance(kernel, Nothing):
            return 1.5e-6
        if isinstance(kernel, Copy):
            return 2e-6 + kernel.nbytes / (0.9 * self.gpu.hbm_bytes_per_s)
        if isinstance(kernel, Product):
            fmt = FORMATS["fp8" if kernel.dtype == "fp8" else "bf16"]
            m = np.array([float(kernel.m)])
            return float(self.gemm.seconds(self.gpu, fmt, m, kernel.n, kernel.k)[0])
        heads = {"q_heads": kernel.heads, "kv_heads": kernel.kv_heads, "head_dim": kernel.head_dim}
        batch = np.array([float(kernel.batch)])
        shape = {k: np.array([float(v)]) for k, v in heads.items()}
        if isinstance(kernel, Decode):
            context = batch * kernel.context
            surface = DecodeAttention()
            return float(surface.seconds(
                self.gpu, **shape, kv_bytes=np.array([2.0]), batch=batch, context=context,
                outside=0.0 * context,
            )[0])  # fmt: skip
        return self._prefill_s(kernel, shape, batch)

    def _prefill_s(self, kernel: Prefill, shape: dict[str, np.ndarray], batch: np.ndarray) -> float:
        length = float(kernel.length)
        return float(PrefillAttention().seconds(
            self.gpu, **shape, kv_bytes=np.array([2.0]), tokens=batch * length, chunks=batch,
            pairs=batch * length * (length + 1) / 2, keys=batch * length, window=0.0 * batch,
        )[0])  # fmt: skip

    def host_seconds(self, launches: int, graph: bool) -> float:
        return launches * LAUNCH_S * (2 if graph else 1)

    def exchange(self, gpus: int, calls: Sequence[Exchange]) -> list[float]:
        priced = default_collectives(load_topology("hgx_h200").group(range(gpus)), "none")
        by_name: dict[str, Callable[[np.ndarray], np.ndarray]] = {
            "all_reduce": priced.all_reduce_s, "all_gather": priced.all_gather_s,
            "reduce_scatter": priced.reduce_scatter_s,
            "alltoall": lambda nbytes: priced.all_to_all_s(nbytes * (gpus - 1) / gpus),
        }  # fmt: skip
        return [float(by_name[c.operation](np.array([2.0 * c.elements]))[0]) for c in calls]


def about(path: Path) -> dict[str, object]:
    found: dict[str, object] = json.loads(path.read_text())
    return found
