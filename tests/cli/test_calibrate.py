"""`sim calibrate` as a user types it."""

from __future__ import annotations

import json
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from desk import Desk, Said
from lab.fake_gpu import FakeGpu
from lab.tables import mla_table, ops

from sim.fidelity import calibrate, measure_gpu
from sim.fidelity.bench import published
from sim.fidelity.bench import shapes as grid
from sim.perf import calibration
from sim.perf.calibration import Calibration, Fitted, read_calibration, write_calibration
from sim.perf.surfaces.gemm import Gemm


@pytest.fixture
def tables(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with one small table; fits run in this process."""
    monkeypatch.setattr(calibrate, "_pool", ThreadPoolExecutor)
    return ops(tmp_path / "ops", context_mla=mla_table())


@pytest.fixture
def gpu(tables: Path, monkeypatch: pytest.MonkeyPatch) -> FakeGpu:
    """An H200 that times a few products and decode steps."""
    device = FakeGpu()
    few = [s for s in grid.decodes(quick=True) if s.heads == 32 or s.batch in (1, 16, 64)]
    monkeypatch.setattr(measure_gpu, "cuda_device", lambda: device)
    monkeypatch.setattr(grid, "products", lambda dtype, quick: ())
    monkeypatch.setattr(grid, "prefills", lambda quick: ())
    monkeypatch.setattr(grid, "decodes", lambda quick: few)
    return device


def test_errors_on_held_out_shapes_are_printed_and_files_written(desk: Desk, tables: Path) -> None:
    said = desk.sim("calibrate", tables, "--date", "2026-01-31", "--source", "a friend")
    assert said.code == 0, said
    assert "wrote calibrations/h100/mine-1.2.yaml" in said.err
    line = next(x for x in said.out.splitlines() if x.startswith("h100"))
    assert line.split()[:5] == ["h100", "mine-1.2", "latent", "prefill", "bf16/bf16"]
    made = read_calibration(desk.folder / "calibrations" / "h100" / "mine-1.2.yaml")
    assert (made.fitted, made.source) == ("2026-01-31", "a friend")


def test_json_is_a_list_of_errors_and_nothing_else(desk: Desk, tables: Path) -> None:
    (row,) = json.loads(desk.sim("calibrate", tables, "--out", "mine", "--json").out)
    assert row.keys() == {
        "gpu", "engine", "kind", "variant", "rows", "mape", "median_ape", "p90_ape", "bias",
    }  # fmt: skip
    assert row["rows"] > 10
    assert 0 < row["mape"] < 0.1


def test_a_scenario_uses_ones_own_calibrations_and_says_so(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(calibration, "FOLDER", desk.folder / "packaged")
    fitted = {"gemm": {"bf16": Fitted(Gemm(compute=0.5))}}
    own = Calibration("h100", "torch-2.9", "made up", "2026-01-31", fitted)
    write_calibration(desk.folder / "mine" / "h100" / "torch-2.9.yaml", own)

    def check(folder: str) -> Said:
        timer = {"calibrated": {"engine_profile": "vllm-0.24", "calibrations": folder}}
        pool = {"engines": 1, "engine": {"max_num_seqs": 8}, "timer": timer}
        return desk.sim("check", desk.write(pools={"serve": pool}))

    said = " ".join(check("mine").out.split())
    assert "products in bf16: fitted to torch-2.9 on h100 (bf16), in 'mine'" in said
    assert "calibrations: 'nowhere' is no folder" in check("nowhere").err


def test_the_packaged_calibrations_are_replaced_only_by_their_full_name(
    desk: Desk, tables: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    packaged = desk.folder / "calibrations"
    monkeypatch.setattr(calibration, "FOLDER", packaged)
    assert "packaged calibrations" in desk.mistake("calibrate", tables)
    assert not packaged.exists()
    said = desk.sim("calibrate", tables, "--out", packaged)
    assert "mine-1.2.yaml (packaged)" in said.err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((), "TABLES is missing"),
        (("nowhere",), "there is no folder"),
        ((".", "--gpu", "h200"), "no table of h200"),
        ((".", "--gpu", "l20x"), "--gpu: GPU 'l20x' is not in the catalog"),
        ((".", "--engine", "mine-2.0"), "no table of mine-2.0"),
        ((".", "--quick"), "--quick is for --measure"),
        ((".", "--measure"), "leave out '.'"),
        (("--measure", "--engine", "x"), "--engine is known with --measure"),
        ((".", "--date", "yesterday"), "--date is 'yesterday'; write it as"),
        ((".", "--out", "small.yaml"), "--out 'small.yaml' is a file"),
        ((".", "--out", "small.yaml/mine"), "--out 'small.yaml/mine' cannot be written"),
    ],
)
def test_mistakes_are_one_sentence(
    desk: Desk, tables: Path, words: tuple[str, ...], said: str
) -> None:
    assert said in desk.mistake("calibrate", *words)


def test_without_pytorch_measuring_says_what_to_install(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    said = desk.mistake("calibrate", "--measure")
    assert said == (
        "--measure needs an NVIDIA GPU and PyTorch with CUDA (pip install torch); PyTorch is not "
        "installed here"
    )


def test_a_gpu_is_measured_fitted_and_compared(
    desk: Desk, gpu: FakeGpu, monkeypatch: pytest.MonkeyPatch
) -> None:
    packaged = desk.folder / "packaged"
    monkeypatch.setattr(published, "FOLDER", packaged)
    words = ("calibrate", "--measure", "--quick", "--date", "2026-01-31")
    said = desk.sim(*words)
    assert said.code == 0, said
    assert "measured NVIDIA H200: calibrations/measured/h200/torch-2.9.1" in said.err
    assert "wrote calibrations/h200/torch-2.9.yaml" in said.err
    assert "NVIDIA H200 as h200" in said.out
    assert "of the data sheet's 4.8 TB/s" in said.out
    assert "eager launch 5" in said.out
    assert "no published calibration of h200" in said.out

    (desk.folder / "calibrations").rename(packaged)
    said = desk.sim(*words)
    line = next(x for x in said.out.splitlines() if x.startswith("decode attention"))
    assert line.split()[3] == "torch-2.9"
    assert float(line.split()[5]) == pytest.approx(1.0, abs=0.05)
    again = desk.sim("calibrate", packaged / "measured", "--out", "again", "--date", "2026-01-31")
    assert again.code == 0, again
    first, second = (
        read_calibration(folder / "h200" / "torch-2.9.yaml").surfaces
        for folder in (packaged, desk.folder / "again")
    )
    assert first == second
