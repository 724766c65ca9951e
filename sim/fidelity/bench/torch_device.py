"""The GPU that PyTorch sees, and its kernels.

Products are `torch.mm` and `torch._scaled_mm` (cuBLAS), attention is the faster of cuDNN's and
FlashAttention behind `scaled_dot_product_attention`. PyTorch is imported when a device is asked
for.
"""

from __future__ import annotations

import gc
import importlib
import subprocess
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from math import ceil
from time import perf_counter
from typing import Any

from sim.errors import ScenarioError
from sim.fidelity.bench import Copy, Decode, Exchange, Facts, Kernel, Prefill, Prepared, Product

COLD = 2.0
"""Buffers of one cycle are this many times the L2 cache."""
MOST_COPIES = 256
L2_BYTES = 64 * 2**20
"""assumed: of a GPU whose driver does not say; more than A100, H100 and H200 have."""
BACKENDS = ("CUDNN_ATTENTION", "FLASH_ATTENTION")
SPIN = 200_000
"""Clock cycles that the GPU waits before a sample, so that the host is ahead of it."""
MEASURE_NEEDS = "an NVIDIA GPU and PyTorch with CUDA (pip install torch)"


def cuda_device() -> TorchDevice:
    """The first GPU that PyTorch sees; ScenarioError saying what is missing."""
    try:
        torch: Any = importlib.import_module("torch")
    except ImportError:
        raise ScenarioError(
            f"--measure needs {MEASURE_NEEDS}; PyTorch is not installed here"
        ) from None
    if torch.version.cuda is None or not torch.cuda.is_available():
        why = "it was built without CUDA" if torch.version.cuda is None else "no GPU or no driver"
        raise ScenarioError(
            f"--measure needs {MEASURE_NEEDS}; PyTorch {torch.__version__} sees no GPU ({why})"
        )
    return TorchDevice(torch)


@dataclass(eq=False, slots=True)
class TorchDevice:
    """CUDA device 0."""

    torch: Any

    def facts(self) -> Facts:
        """Name, sizes, versions and clocks."""
        torch = self.torch
        properties = torch.cuda.get_device_properties(0)
        version = torch.__version__.split("+")[0]
        nccl = ".".join(map(str, torch.cuda.nccl.version())) if _has_nccl(torch) else ""
        more = {
            "sm_count": properties.multi_processor_count,
            "l2_bytes": self._l2_bytes(),
            "compute_capability": f"{properties.major}.{properties.minor}",
            "torch": torch.__version__,
            "cuda": torch.version.cuda,
            "cudnn": torch.backends.cudnn.version(),
            **_nvidia_smi(),
        }
        return Facts(
            name=properties.name,
            gpus=torch.cuda.device_count(),
            memory_bytes=float(properties.total_memory),
            software=f"torch-{version}",
            nccl=nccl,
            more=more,
        )

    def prepare(self, kernel: Kernel) -> Prepared | None:
        """Buffers and kernel; None where memory or software do not do."""
        try:
            return self._prepared(kernel)
        except self.torch.cuda.OutOfMemoryError:
            gc.collect()
            self.torch.cuda.empty_cache()
            return None

    def host_seconds(self, launches: int, graph: bool) -> float:
        """Host time of adding one to one number, so many times."""
        torch = self.torch
        number = torch.zeros(1, device="cuda")
        call = number.add_
        call(1)
        launch = captured(torch, lambda i: call(1), 1).replay if graph else lambda: call(1)
        launch()
        torch.cuda.synchronize()
        began = perf_counter()
        for _ in range(launches):
            launch()
        taken = perf_counter() - began
        torch.cuda.synchronize()
        return taken

    def exchange(self, gpus: int, calls: Sequence[Exchange]) -> list[float]:
        """See `torch_exchange`."""
        from sim.fidelity.bench.torch_exchange import exchange

        return exchange(gpus, calls)

    def _prepared(self, kernel: Kernel) -> Prepared | None:
        if isinstance(kernel, Product):
            return self._product(kernel)
        if isinstance(kernel, Prefill):
            return self._prefill(kernel)
        if isinstance(kernel, Decode):
            return self._decode(kernel)
        torch, size = self.torch, kernel.size if isinstance(kernel, Copy) else 4
        source = torch.zeros(size // 4, device="cuda")
        if isinstance(kernel, Copy):
            target = torch.empty_like(source)
            return _Graphed(torch, "torch_copy", (lambda: target.copy_(source),))
        return _Graphed(torch, "torch_add", (lambda: source.add_(1),))

    def _product(self, kernel: Product) -> Prepared | None:
        """Weights as engines keep them, outputs × inputs. `fp8`: per-tensor scales of one; the
        activation is cast in a kernel of its own, as by an engine with static scales."""
        torch, bf16 = self.torch, self.torch.bfloat16
        fp8 = kernel.dtype == "fp8"
        if fp8 and torch.cuda.get_device_capability() < (8, 9):
            return None
        width = 1 if fp8 else 2
        count = self._copies(kernel.n * kernel.k * width)
        x = torch.randn(kernel.m, kernel.k, device="cuda", dtype=bf16)
        weights = [self._weight(kernel, fp8) for _ in range(count)]
        if not fp8:
            y = torch.empty(kernel.m, kernel.n, device="cuda", dtype=bf16)
            calls = [_mm(torch, x, w.t(), y) for w in weights]
            return _Graphed(torch, "torch_mm", tuple(calls))
        one = torch.ones((), device="cuda", dtype=torch.float32)
        calls = [_scaled_mm(torch, x, w.t(), one) for w in weights]
        return _Graphed(torch, "torch_scaled_mm", tuple(calls))

    def _weight(self, kernel: Product, fp8: bool) -> Any:
        torch = self.torch
        made = torch.randn(kernel.n, kernel.k, device="cuda", dtype=torch.bfloat16)
        return made.to(torch.float8_e4m3fn) if fp8 else made

    def _prefill(self, kernel: Prefill) -> Prepared | None:
        q, k, v = (
            self._heads(kernel.batch, kernel.length, heads, kernel.head_dim)
            for heads in (kernel.heads, kernel.kv_heads, kernel.kv_heads)
        )
        grouped = {"enable_gqa": True} if kernel.heads != kernel.kv_heads else {}
        return self._faster([(q, k, v)], is_causal=True, **grouped)

    def _decode(self, kernel: Decode) -> Prepared | None:
        """The query heads that share a KV head are rows of one small matrix: for one new token
        that is the same sum, and it reads the cache once."""
        group = kernel.heads // kernel.kv_heads
        q = self._heads(kernel.batch, group, kernel.kv_heads, kernel.head_dim)
        shape = (kernel.batch, kernel.context, kernel.kv_heads, kernel.head_dim)
        copies = self._copies(kernel.nbytes)
        caches = [(q, self._heads(*shape), self._heads(*shape)) for _ in range(copies)]
        return self._faster(caches)

    def _heads(self, batch: int, length: int, heads: int, dim: int) -> Any:
        """(batch, heads, length, dim), kept as (batch, length, heads, dim)."""
        torch = self.torch
        made = torch.randn(batch, length, heads, dim, device="cuda", dtype=torch.bfloat16)
        return made.transpose(1, 2)

    def _faster(self, operands: list[tuple[Any, Any, Any]], **settings: Any) -> Prepared | None:
        """The attention backend that takes less time for this shape, of those that can."""
        found: list[tuple[float, _Graphed]] = []
        for name in BACKENDS:
            calls = tuple(_attention(self.torch, name, qkv, settings) for qkv in operands)
            graphed = _Graphed(self.torch, f"torch_sdpa_{name.split('_')[0].lower()}", calls)
            try:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")  # why a backend cannot: the next is tried
                    calls[0]()
                    seconds = min(graphed.seconds(max(4, len(calls))) for _ in range(3))
            except self.torch.cuda.OutOfMemoryError:
                raise
            except RuntimeError:
                continue
            found.append((seconds, graphed))
        return min(found, key=lambda entry: entry[0])[1] if found else None

    def _copies(self, nbytes: float) -> int:
        return max(1, min(MOST_COPIES, ceil(COLD * self._l2_bytes() / nbytes)))

    def _l2_bytes(self) -> int:
        properties = self.torch.cuda.get_device_properties(0)
        return int(getattr(properties, "L2_cache_size", L2_BYTES))


@dataclass(eq=False, slots=True)
class _Graphed:
    """Calls in turn, as one CUDA graph per number of calls."""

    torch: Any
    source: str
    calls: tuple[Callable[[], object], ...]
    _graphs: dict[int, Any] = field(default_factory=dict)

    @property
    def cycle(self) -> int:
        return len(self.calls)

    def seconds(self, calls: int) -> float:
        """Between two events around the replay."""
        torch, graph = self.torch, self._graph(calls)
        begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        torch.cuda._sleep(SPIN)
        begin.record()
        graph.replay()
        end.record()
        end.synchronize()
        return float(begin.elapsed_time(end)) / 1e3

    def _graph(self, calls: int) -> Any:
        if calls not in self._graphs:
            torch = self.torch
            self.calls[0]()  # libraries set themselves up outside the capture
            graph = captured(torch, lambda i: self.calls[i % len(self.calls)](), calls)
            graph.replay()
            torch.cuda.synchronize()
            self._graphs[calls] = graph
        return self._graphs[calls]


def captured(torch: Any, call: Callable[[int], object], calls: int, errors: str = "global") -> Any:
    """A CUDA graph of so many calls. Begun and ended by hand: `torch.cuda.graph` would collect
    garbage each time, which takes longer than the measurement."""
    graph, side = torch.cuda.CUDAGraph(), torch.cuda.Stream()
    torch.cuda.synchronize()
    with torch.cuda.stream(side):
        graph.capture_begin(capture_error_mode=errors)
        try:
            for i in range(calls):
                call(i)
        finally:
            graph.capture_end()
    torch.cuda.synchronize()
    return graph


def _mm(torch: Any, x: Any, weight: Any, y: Any) -> Callable[[], object]:
    return lambda: torch.mm(x, weight, out=y)


def _scaled_mm(torch: Any, x: Any, weight: Any, one: Any) -> Callable[[], object]:
    fp8, out = torch.float8_e4m3fn, torch.bfloat16

    def call() -> object:
        return torch._scaled_mm(x.to(fp8), weight, scale_a=one, scale_b=one, out_dtype=out)

    return call


def _attention(
    torch: Any, backend: str, operands: tuple[Any, Any, Any], settings: dict[str, Any]
) -> Callable[[], object]:
    attention = importlib.import_module("torch.nn.attention")
    kind = getattr(attention.SDPBackend, backend)

    def call() -> object:
        with attention.sdpa_kernel(kind):
            return torch.nn.functional.scaled_dot_product_attention(*operands, **settings)

    return call


def _has_nccl(torch: Any) -> bool:
    return bool(torch.distributed.is_available() and torch.distributed.is_nccl_available())


def _nvidia_smi() -> dict[str, str]:
    """Driver, clocks and power limit as `nvidia-smi` prints them; nothing where it is absent."""
    names = ("driver_version", "clocks.max.sm", "clocks.max.mem", "power.limit")
    command = ["nvidia-smi", "--id=0", f"--query-gpu={','.join(names)}", "--format=csv,noheader"]
    try:
        said = subprocess.run(command, capture_output=True, text=True, timeout=30, check=True)
    except (OSError, subprocess.SubprocessError):
        return {}
    return dict(zip(names, (x.strip() for x in said.stdout.strip().split(",")), strict=False))
