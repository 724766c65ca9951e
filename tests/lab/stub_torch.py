"""As much of PyTorch as the measuring asks for, with a clock instead of a GPU: a product takes
10 µs, a copy 20 µs, attention what its backend takes; a capture takes no time, its replay does."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest


class OutOfMemoryError(RuntimeError):
    """Like PyTorch's, a RuntimeError."""


class Tensor:
    """A shape."""

    def __init__(self, stub: StubTorch, *shape: int) -> None:
        self.stub, self.shape = stub, shape

    def t(self) -> Tensor:
        return Tensor(self.stub, *reversed(self.shape))

    def transpose(self, first: int, second: int) -> Tensor:
        shape = list(self.shape)
        shape[first], shape[second] = shape[second], shape[first]
        return Tensor(self.stub, *shape)

    def to(self, dtype: str) -> Tensor:
        return self

    def copy_(self, other: Tensor) -> None:
        self.stub.spend(20e-6)

    def add_(self, number: int) -> None:
        self.stub.spend(2e-6)

    def __len__(self) -> int:
        return self.shape[0]


class StubTorch(ModuleType):
    """The module `torch`; `attention_s` are seconds by backend, or the error that it raises."""

    def __init__(self, capability: tuple[int, int] = (9, 0)) -> None:
        super().__init__("torch")
        self.now_s, self.capturing = 0.0, None
        self.attention_s: dict[str, float | Exception] = {}
        self.made: list[tuple[int, ...]] = []
        self.products: list[tuple[tuple[int, ...], tuple[int, ...]]] = []
        self.largest = 10**12
        self.bfloat16 = self.float16 = self.float32 = self.float8_e4m3fn = "dtype"
        self.__version__, self.version = "2.9.1+cu128", SimpleNamespace(cuda="12.8")
        self.randn = self.zeros = self.empty = self.ones = self._make
        self.backends = SimpleNamespace(cudnn=SimpleNamespace(version=lambda: 91002))
        self.distributed = SimpleNamespace(
            is_available=lambda: True, is_nccl_available=lambda: True
        )
        self.nn = SimpleNamespace(
            functional=SimpleNamespace(scaled_dot_product_attention=self._attention)
        )
        self.cuda = self._cuda(capability)

    def spend(self, seconds: float) -> None:
        """A kernel runs, or is captured."""
        if self.capturing is None:
            self.now_s += seconds
        else:
            self.capturing.append(seconds)

    def empty_like(self, other: Tensor) -> Tensor:
        return self._make(*other.shape)

    zeros_like = empty_like

    def mm(self, x: Tensor, weight: Tensor, out: Tensor) -> Tensor:
        assert out.shape == (x.shape[0], weight.shape[1])
        self.products.append((x.shape, weight.shape))
        self.spend(10e-6)
        return out

    def _scaled_mm(self, x: Tensor, weight: Tensor, **scales: Any) -> Tensor:
        assert scales.keys() == {"scale_a", "scale_b", "out_dtype"}
        return self.mm(x, weight, Tensor(self, x.shape[0], weight.shape[1]))

    def _make(self, *shape: Any, **how: Any) -> Tensor:
        flat = shape[0] if shape and isinstance(shape[0], tuple) else shape
        size = 1
        for n in flat:
            size *= n
        if size > self.largest:
            raise OutOfMemoryError
        self.made.append(flat)
        return Tensor(self, *flat)

    def _attention(self, q: Tensor, k: Tensor, v: Tensor, **settings: Any) -> None:
        assert (k.shape[0], *k.shape[3:]) == (q.shape[0], *q.shape[3:])
        assert k.shape == v.shape
        assert q.shape[1] == k.shape[1] or settings.get("enable_gqa")
        took = self.attention_s[self.backend]
        if isinstance(took, Exception):
            raise took
        self.spend(took)

    @contextmanager
    def sdpa_kernel(self, backend: str) -> Iterator[None]:
        self.backend = backend
        yield

    def _cuda(self, capability: tuple[int, int]) -> SimpleNamespace:
        stub = self

        class Event:
            def __init__(self, enable_timing: bool) -> None:
                assert enable_timing

            def record(self) -> None:
                self.at_s = stub.now_s

            def synchronize(self) -> None:
                assert stub.capturing is None

            def elapsed_time(self, end: Event) -> float:
                return 1e3 * (end.at_s - self.at_s)

        class CUDAGraph:
            def capture_begin(self, capture_error_mode: str) -> None:
                stub.capturing = []

            def capture_end(self) -> None:
                self.kernels, stub.capturing = stub.capturing, None

            def replay(self) -> None:
                for seconds in self.kernels:
                    stub.spend(seconds)

        @contextmanager
        def stream(side: object) -> Iterator[None]:
            yield

        properties = SimpleNamespace(
            name="NVIDIA H200", multi_processor_count=132, L2_cache_size=50 * 2**20,
            major=capability[0], minor=capability[1], total_memory=141 * 10**9,
        )  # fmt: skip
        return SimpleNamespace(
            Event=Event, CUDAGraph=CUDAGraph, Stream=object, stream=stream,
            OutOfMemoryError=OutOfMemoryError, empty_cache=lambda: None, synchronize=lambda: None,
            _sleep=lambda cycles: self.spend(1e-4), is_available=lambda: True,
            device_count=lambda: 2, get_device_capability=lambda: capability,
            get_device_properties=lambda i: properties,
            nccl=SimpleNamespace(version=lambda: (2, 27, 5)),
        )  # fmt: skip


def installed(stub: StubTorch, monkeypatch: pytest.MonkeyPatch) -> StubTorch:
    """What `import torch` finds."""
    attention = ModuleType("torch.nn.attention")
    names = ("CUDNN_ATTENTION", "FLASH_ATTENTION")
    attention.SDPBackend = SimpleNamespace(**{n: n for n in names})  # type: ignore[attr-defined]
    attention.sdpa_kernel = stub.sdpa_kernel  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "torch", stub)
    monkeypatch.setitem(sys.modules, "torch.nn", ModuleType("torch.nn"))
    monkeypatch.setitem(sys.modules, "torch.nn.attention", attention)
    return stub
