"""Measuring a GPU: when a time is settled, which shapes, what is written, and what is missing."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from lab.fake_gpu import LAUNCH_S, FakeGpu, FakeKernel

from sim.errors import ScenarioError
from sim.fidelity.bench import Copy, Decode, Nothing, Prefill, Product
from sim.fidelity.bench import shapes as grid
from sim.fidelity.bench.published import against_published
from sim.fidelity.bench.run import MEMORY_SHARE, columns, write_table
from sim.fidelity.bench.timing import StopRule, calls_per_sample, error_of, time_call
from sim.fidelity.bench.torch_device import cuda_device
from sim.fidelity.measure_gpu import Measured, measure_gpu
from sim.fidelity.ops_tables import TABLES


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> Measured:
    """A quick measurement of eight H200 that are not there."""
    return measure_gpu(tmp_path_factory.mktemp("own"), quick=True, device=FakeGpu(gpus=8))


def test_a_quiet_kernel_is_settled_with_the_fewest_samples() -> None:
    timing = time_call(FakeKernel(10e-6, noise=0.001), StopRule())
    assert timing.settled
    assert timing.samples == StopRule().least
    assert timing.seconds == pytest.approx(10e-6, rel=0.002)


def test_a_noisy_kernel_is_sampled_until_its_median_stands_still() -> None:
    timing = time_call(FakeKernel(10e-6, noise=0.02), StopRule())
    assert timing.settled
    assert timing.samples > StopRule().least
    assert timing.seconds == pytest.approx(10e-6, rel=0.01)


def test_sampling_ends_when_the_time_for_a_shape_is_spent() -> None:
    kernel = FakeKernel(50e-3, noise=0.5)
    timing = time_call(kernel, StopRule(budget_s=0.3))
    assert not timing.settled
    assert timing.samples < 12


def test_one_odd_sample_does_not_move_the_time() -> None:
    assert error_of([1.0, 1.0, 1.0, 1.0, 9.0]) == 0.0
    assert error_of([0.9, 1.0, 1.1, 1.2, 0.8]) > 0.05


@pytest.mark.parametrize(
    ("call_s", "cycle", "calls"),
    [(10e-6, 1, 100), (10e-6, 64, 128), (1e-9, 1, 512), (1e-9, 200, 600), (0.02, 1, 1), (1, 8, 8)],
)
def test_a_sample_is_whole_cycles_of_at_least_a_millisecond(
    call_s: float, cycle: int, calls: int
) -> None:
    assert calls_per_sample(call_s, cycle, StopRule()) == calls


def test_shapes_are_many_sizes_within_reason() -> None:
    for quick in (False, True):
        products = list(grid.products("bfloat16", quick))
        assert len(set(products)) == len(products)
        assert max(2.0 * p.m * p.n * p.k for p in products) <= grid.MOST_FLOPS
        assert len({p.n for p in products}) >= 6
        assert all(p.batch * p.length <= grid.MOST_TOKENS for p in grid.prefills(quick))
        assert {d.heads // d.kv_heads for d in grid.decodes(quick)} >= {1, 4, 8, 16}
        assert all(s.heads % s.kv_heads == 0 for s in grid.prefills(quick))
    assert grid.groups(1) == ()
    assert grid.groups(6) == (2, 4, 6)
    assert grid.groups(8) == (2, 4, 8)


def test_bytes_are_those_of_the_operands() -> None:
    assert Product("fp8", 1, 4096, 4096).nbytes == 4096**2 + 2 * 2 * 4096
    assert Product("bfloat16", 8, 2, 4).nbytes == 2 * (8 * 2 + 2 * 4 + 8 * 4)
    assert Decode(2, 100, 8, 4, 128).nbytes == 2 * 2 * 2 * 100 * 4 * 128
    assert Prefill(1, 10, 8, 4, 64).nbytes == 2 * 10 * (8 + 8 + 4 + 4) * 64
    assert Copy(100).nbytes == 200


def test_tables_have_the_columns_that_fits_need(measured: Measured) -> None:
    place = measured.about.parent
    assert place.name == "torch-2.9.1"
    assert place.parent.name == "h200"
    for name in ("gemm", "context_attention", "generation_attention"):
        table = pd.read_csv(place / f"{name}.csv.gz")
        assert set(TABLES[name]) | {"latency", "kernel_source"} <= set(table.columns)
        assert (table["latency"] > 0).all()
    decode = pd.read_csv(place / "generation_attention.csv.gz")
    assert set(decode["step"] + 1) == set(grid.QUICK_CONTEXTS)
    assert columns(Nothing()) == {}


def test_collectives_of_every_group_size_are_written(measured: Measured) -> None:
    table = pd.read_csv(measured.tables / "collectives" / "nccl.csv.gz")
    assert set(TABLES["nccl"]) <= set(table.columns)
    assert sorted(table["num_gpus"].unique()) == [2, 4, 8]
    assert len(table) == 3 * len(grid.exchanges(quick=True))


def test_the_device_says_what_it_is_and_how_it_was_measured(measured: Measured) -> None:
    about = json.loads(measured.about.read_text())
    assert about["name"] == "NVIDIA H200"
    assert about["launches"]["eager_launch_s"] == pytest.approx(LAUNCH_S)
    assert about["launches"]["graph_launch_s"] == pytest.approx(2 * LAUNCH_S)
    assert about["launches"]["kernel_in_graph_s"] == pytest.approx(1.5e-6, rel=0.02)
    assert about["copy_bytes_per_s"] == pytest.approx(0.9 * measured.gpu.hbm_bytes_per_s, rel=0.02)
    assert about["shapes"]["settled"] > 0.9 * about["shapes"]["timed"] - 132
    assert "median" in about["method"]
    assert "NVIDIA H200 with torch-2.9.1" in measured.source


def test_what_the_gpu_cannot_run_is_left_out_and_counted(tmp_path: Path) -> None:
    own = measure_gpu(tmp_path, quick=True, device=FakeGpu(fp8=False, name="NVIDIA A100-SXM4-80GB"))
    about = json.loads(own.about.read_text())
    assert own.gpu.name == "a100-80"
    assert about["shapes"]["left_out"]["gemm"] == len(list(grid.products("fp8", quick=True)))
    decode = pd.read_csv(own.about.parent / "generation_attention.csv.gz")
    kv = 4.0 * (decode["batch_size"] * (decode["step"] + 1) * decode["num_key_value_heads"]) * 128
    assert kv.max() <= MEMORY_SHARE * 141e9
    assert set(pd.read_csv(own.about.parent / "gemm.csv.gz")["gemm_dtype"]) == {"bfloat16"}
    assert not (own.tables / "collectives").exists()


def test_measured_times_stand_beside_the_shipped_machines(
    measured: Measured, tmp_path: Path
) -> None:
    """The fake's collectives are those of the shipped machine: the ratio is one."""
    rows = against_published(measured.tables, measured.gpu, tmp_path)
    shared = [r for r in rows if r["engine"] == "machine"]
    assert {r["group"] for r in shared} == {f"nccl {op}" for op in grid.OPERATIONS}
    assert all(r["median_ratio"] == pytest.approx(1.0, abs=1e-4) for r in shared)


def test_the_same_rows_give_the_same_bytes(tmp_path: Path) -> None:
    rows = [{"m": 1, "latency": 0.1234567891}]
    for name in ("a", "b"):
        write_table(tmp_path / name / "gemm.csv.gz", rows)
    first, second = ((tmp_path / n / "gemm.csv.gz").read_bytes() for n in ("a", "b"))
    assert first == second


@pytest.mark.parametrize(
    ("device", "known"),
    [
        ("NVIDIA H200", "h200"),
        ("NVIDIA H100 80GB HBM3", "h100"),
        ("NVIDIA A100-SXM4-40GB", "a100-40"),
        ("NVIDIA GB200", "gb200"),
        ("NVIDIA B200", "b200"),
        ("NVIDIA RTX PRO 6000 Blackwell Server Edition", "rtxpro6000"),
    ],
)
def test_the_drivers_name_is_found_in_the_catalog(
    tmp_path: Path, device: str, known: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(grid, "products", lambda dtype, quick: ())
    monkeypatch.setattr(grid, "prefills", lambda quick: ())
    monkeypatch.setattr(grid, "decodes", lambda quick: ())
    assert measure_gpu(tmp_path, device=FakeGpu(name=device)).gpu.name == known


@pytest.mark.parametrize("device", ["NVIDIA H100 PCIe", "NVIDIA H100 NVL", "Tesla T4"])
def test_other_cards_are_not_taken_for_the_catalogs(tmp_path: Path, device: str) -> None:
    with pytest.raises(ScenarioError, match="--gpu"):
        measure_gpu(tmp_path, device=FakeGpu(name=device))
    assert not list(tmp_path.iterdir())


def _torch(cuda: str | None, available: bool) -> ModuleType:
    made = ModuleType("torch")
    made.__version__ = "2.9.1"
    made.version = SimpleNamespace(cuda=cuda)
    made.cuda = SimpleNamespace(is_available=lambda: available)
    return made


@pytest.mark.parametrize(
    ("torch", "why"),
    [
        (None, "PyTorch is not installed"),
        (_torch(None, False), "built without CUDA"),
        (_torch("12.8", False), "no GPU or no driver"),
    ],
)
def test_what_is_missing_is_said(
    torch: ModuleType | None, why: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "torch", torch)
    with pytest.raises(ScenarioError, match=why) as told:
        cuda_device()
    assert "pip install torch" in str(told.value)


def test_medians_of_noise_err_as_often_as_they_say() -> None:
    """Of many medians of 25 normal samples, the spread is the error that is given."""
    draws = np.random.default_rng(5).normal(1.0, 0.02, (400, 25))
    spread = float(np.median(draws, axis=1).std())
    said = float(np.mean([error_of(list(map(float, row))) for row in draws]))
    assert said == pytest.approx(spread, rel=0.15)
