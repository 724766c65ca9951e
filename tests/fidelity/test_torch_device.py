"""How PyTorch is asked: shapes, cycles, capture, the choice between backends, and refusals."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from lab.stub_torch import StubTorch, installed

from sim.fidelity.bench import (
    Copy,
    Decode,
    Exchange,
    Nothing,
    Prefill,
    Product,
    torch_device,
    torch_exchange,
)
from sim.fidelity.bench.timing import StopRule, time_call
from sim.fidelity.bench.torch_device import MOST_COPIES, cuda_device

L2_BYTES = 50 * 2**20


@pytest.fixture
def torch(monkeypatch: pytest.MonkeyPatch) -> StubTorch:
    monkeypatch.setattr(torch_device, "_nvidia_smi", lambda: {"driver_version": "580.1"})
    return installed(StubTorch(), monkeypatch)


def test_a_device_says_its_software_and_driver(torch: StubTorch) -> None:
    facts = cuda_device().facts()
    assert (facts.name, facts.software, facts.nccl, facts.gpus) == (
        "NVIDIA H200", "torch-2.9.1", "2.27.5", 2,
    )  # fmt: skip
    assert facts.more["compute_capability"] == "9.0"
    assert facts.more["driver_version"] == "580.1"


def test_weights_of_a_cycle_are_twice_the_cache(torch: StubTorch) -> None:
    small = cuda_device().prepare(Product("bfloat16", 8, 1024, 2048))
    assert small is not None
    assert small.cycle * 1024 * 2048 * 2 >= 2 * L2_BYTES
    large = cuda_device().prepare(Product("bfloat16", 8, 16384, 16384))
    assert large is not None
    assert large.cycle == 1
    tiny = cuda_device().prepare(Product("bfloat16", 8, 64, 64))
    assert tiny is not None
    assert tiny.cycle == MOST_COPIES


@pytest.mark.parametrize("dtype", ["bfloat16", "fp8"])
def test_a_product_takes_what_its_replay_takes(torch: StubTorch, dtype: str) -> None:
    prepared = cuda_device().prepare(Product(dtype, 16, 4096, 1024))
    assert prepared is not None
    assert time_call(prepared, StopRule()).seconds == pytest.approx(10e-6)
    assert set(torch.products) == {((16, 1024), (1024, 4096))}


def test_no_fp8_before_compute_capability_8_9(monkeypatch: pytest.MonkeyPatch) -> None:
    installed(StubTorch(capability=(8, 0)), monkeypatch)
    assert cuda_device().prepare(Product("fp8", 16, 4096, 1024)) is None
    assert cuda_device().prepare(Product("bfloat16", 16, 4096, 1024)) is not None


def test_the_faster_attention_counts_and_those_that_cannot_are_passed_over(
    torch: StubTorch,
) -> None:
    torch.attention_s = {"CUDNN_ATTENTION": 30e-6, "FLASH_ATTENTION": 20e-6}
    kernel = Prefill(2, 512, 32, 8, 128)
    found = cuda_device().prepare(kernel)
    assert found is not None
    assert found.source == "torch_sdpa_flash"
    assert found.seconds(10) == pytest.approx(200e-6)
    torch.attention_s["FLASH_ATTENTION"] = RuntimeError("No available kernel")
    found = cuda_device().prepare(kernel)
    assert found is not None
    assert found.source == "torch_sdpa_cudnn"
    torch.attention_s["CUDNN_ATTENTION"] = RuntimeError("No available kernel")
    assert cuda_device().prepare(kernel) is None


def test_heads_of_one_cache_head_are_rows_of_one_query_in_decode(torch: StubTorch) -> None:
    torch.attention_s = {"CUDNN_ATTENTION": 30e-6, "FLASH_ATTENTION": 20e-6}
    kernel = Decode(4, 1024, 32, 8, 128)
    found = cuda_device().prepare(kernel)
    assert found is not None
    assert torch.made[0] == (4, 4, 8, 128)
    assert set(torch.made[1:]) == {(4, 1024, 8, 128)}
    assert found.cycle * kernel.nbytes >= 2 * L2_BYTES
    assert found.seconds(2 * found.cycle) == pytest.approx(2 * found.cycle * 20e-6)


def test_what_does_not_fit_into_memory_is_left_out(torch: StubTorch) -> None:
    torch.largest = 10**6
    torch.attention_s = {"CUDNN_ATTENTION": 30e-6, "FLASH_ATTENTION": 20e-6}
    device = cuda_device()
    assert device.prepare(Decode(4, 1024, 32, 8, 128)) is None
    assert device.prepare(Copy(10**8)) is None
    assert device.prepare(Copy(10**6)) is not None


def test_copies_and_the_smallest_kernel_are_timed(torch: StubTorch) -> None:
    device = cuda_device()
    copied, smallest = device.prepare(Copy(2**20)), device.prepare(Nothing())
    assert copied is not None
    assert smallest is not None
    assert copied.seconds(3) == pytest.approx(60e-6)
    assert smallest.seconds(4) == pytest.approx(8e-6)
    assert all(device.host_seconds(10, graph) > 0 for graph in (False, True))


@pytest.mark.parametrize("operation", ["all_reduce", "all_gather", "reduce_scatter", "alltoall"])
def test_elements_count_the_whole_buffer_of_a_collective(torch: StubTorch, operation: str) -> None:
    """A replayed graph of calls, seen by the slowest GPU."""
    seen: list[tuple[int, ...]] = []

    def call(*tensors: object) -> None:
        seen.append(tuple(len(t) for t in tensors))  # type: ignore[arg-type]
        torch.spend(50e-6)

    slower = SimpleNamespace(
        barrier=lambda: None, ReduceOp=SimpleNamespace(MAX="max"),
        all_reduce=lambda x, op=None: call(x) if op is None else None,
        all_gather_into_tensor=call, reduce_scatter_tensor=call, all_to_all_single=call,
    )  # fmt: skip
    torch.tensor = lambda value, device: value
    seconds = torch_exchange._seconds(torch, slower, 8, Exchange(operation, 1024))
    assert seconds == pytest.approx(50e-6)
    sizes = {"all_reduce": (1024,), "all_gather": (1024, 128), "reduce_scatter": (128, 1024)}
    assert set(seen) == {sizes.get(operation, (1024, 1024))}
