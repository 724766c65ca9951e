"""Fitting whole folders of tables, and calibrations of one's own in use."""

from __future__ import annotations

import os
import time
from dataclasses import replace
from datetime import date
from itertools import product
from pathlib import Path

import pandas as pd
import pytest
from lab.fake_gpu import FakeGpu
from lab.tables import H100, gemm_table, mla_table, ops

from sim.catalog.gpu import load_gpu
from sim.errors import ScenarioError
from sim.fidelity.bench import shapes as grid
from sim.fidelity.calibrate import Options, _pool, calibrate
from sim.fidelity.measure_gpu import measure_gpu
from sim.fidelity.ops_folder import Only, jobs
from sim.perf.calibration import (
    VARIABLE,
    Calibration,
    Fitted,
    calibration_names,
    load_calibration,
    read_calibration,
    write_calibration,
)
from sim.perf.fitted import Shelf
from sim.perf.surfaces.gemm import Gemm
from sim.perf.timers.calibrated import Calibrated

TRUE = Gemm(compute=0.7, hbm=0.6, stream=0.6)
DAY = date(2026, 1, 31)
HERE = Options(workers=0, day=DAY)


def own(folder: Path, gpu: str, engine: str, compute: float) -> Path:
    """A calibration of products only."""
    fitted = {"gemm": {"bf16": Fitted(Gemm(compute=compute))}}
    calibration = Calibration(gpu, engine, "made up", "2026-01-01", fitted)
    write_calibration(folder / gpu / f"{engine}.yaml", calibration)
    return folder


def test_a_table_of_known_figures_gives_them_back_and_its_noise_as_error(tmp_path: Path) -> None:
    tables = ops(tmp_path / "ops", gemm=gemm_table(TRUE))
    outcome = calibrate(tables, tmp_path / "out", HERE)
    (path, made), *rest = outcome.calibrations
    assert not rest
    assert path == tmp_path / "out" / "h100" / "mine-1.2.yaml"
    found = made.surfaces["gemm"]["bf16"].surface
    assert found.hbm == pytest.approx(TRUE.hbm, rel=0.05)
    assert found.compute == pytest.approx(TRUE.compute, rel=0.1)
    (row,) = outcome.rows()
    assert (row["gpu"], row["engine"], row["kind"], row["variant"]) == (
        "h100", "mine-1.2", "gemm", "bf16",
    )  # fmt: skip
    assert row["rows"] > 20
    assert 0.005 < row["mape"] < 0.06
    assert read_calibration(path).fitted == "2026-01-31"


def test_the_same_tables_give_the_same_bytes_with_one_process_or_two(tmp_path: Path) -> None:
    tables = ops(tmp_path / "ops", context_mla=mla_table())
    table = mla_table().assign(kv_cache_dtype="fp8")
    (tables / "h200_sxm" / "mine-1.2.3").mkdir(parents=True)
    table.to_csv(tables / "h200_sxm" / "mine-1.2.3" / "context_mla.csv", index=False)
    steps: list[tuple[int, int]] = []
    for workers in (1, 2):
        progress = (lambda done, of, what: steps.append((done, of))) if workers == 2 else None
        options = Options(workers=workers, day=DAY, progress=progress)
        calibrate(tables, tmp_path / str(workers), options)
    assert steps == [(1, 2), (2, 2)]
    first, second = (
        {p.relative_to(tmp_path / w): p.read_bytes() for p in (tmp_path / w).rglob("*.yaml")}
        for w in ("1", "2")
    )
    assert len(first) == 2
    assert first == second


def test_ctrl_c_does_not_wait_for_fits_that_are_under_way() -> None:
    def stopped() -> None:
        with _pool(1) as pool:
            pool.submit(time.sleep, 60)
            raise KeyboardInterrupt

    begun = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        stopped()
    assert time.monotonic() - begun < 10


def test_nothing_is_replaced_when_a_table_cannot_be_fitted(tmp_path: Path) -> None:
    tables = ops(tmp_path / "ops", context_mla=mla_table())
    calibrate(tables, tmp_path / "out", HERE)
    (path,) = (tmp_path / "out").rglob("*.yaml")
    before = path.read_bytes()
    ops(tmp_path / "ops", gemm=gemm_table(TRUE).drop(columns="n"))
    with pytest.raises(ScenarioError, match="no column 'n'"):
        calibrate(tables, tmp_path / "out", HERE)
    assert path.read_bytes() == before
    assert [p.name for p in path.parent.iterdir()] == [path.name]


def test_what_a_replaced_file_knew_and_the_new_one_does_not_is_told(tmp_path: Path) -> None:
    own(tmp_path / "out", "h100", "mine-1.2", 0.5)
    outcome = calibrate(ops(tmp_path / "ops", context_mla=mla_table()), tmp_path / "out", HERE)
    assert "had gemm, of which there is no table now" in outcome.notes[0]


def test_the_folders_are_named_as_the_source_unless_one_is_given(tmp_path: Path) -> None:
    tables = ops(tmp_path / "ops", context_mla=mla_table())
    (_, made), *_ = calibrate(tables, tmp_path / "out", HERE).calibrations
    assert made.source == "tables h100_sxm/mine-1.2.3 of the folder 'ops'"
    options = replace(HERE, source="NVIDIA,\nApache-2.0")
    (_, made), *_ = calibrate(tables, tmp_path / "out", options).calibrations
    assert made.source == "NVIDIA, Apache-2.0"


def test_tables_too_small_to_fit_or_to_judge_are_refused_in_words(tmp_path: Path) -> None:
    tables = ops(tmp_path / "ops", gemm=gemm_table(TRUE).head(5))
    with pytest.raises(ScenarioError, match="has 5 rows; a fit needs at least 30"):
        calibrate(tables, tmp_path / "out", HERE)
    shapes = product((8, 16, 32), range(128, 1408, 128))
    alike = pd.DataFrame(shapes, columns=["num_heads", "isl"]).assign(
        batch_size=4, num_key_value_heads=8, head_dim=128, attn_dtype="bfloat16",
        kv_cache_dtype="bfloat16", latency=1.0,
    )  # fmt: skip
    with pytest.raises(ScenarioError, match="may have too few shapes"):
        calibrate(ops(tmp_path / "alike", context_attention=alike), tmp_path / "out", HERE)


def test_gpu_and_engine_choose_among_tables(tmp_path: Path) -> None:
    tables = ops(tmp_path, gemm=gemm_table(TRUE))
    assert [j.engine for j in jobs(tables, Only("h100", "mine-1.2"))] == ["mine-1.2"]
    with pytest.raises(ScenarioError, match=r"no table of h200; it has h100_sxm/mine-1\.2\.3"):
        jobs(tables, Only("h200"))
    with pytest.raises(ScenarioError, match=r"no table of other-2\.0"):
        jobs(tables, Only(engine="other-2.0"))


def test_gpu_and_engine_name_tables_that_lie_in_other_folders(tmp_path: Path) -> None:
    path = tmp_path / "things" / "gemm.csv"
    path.parent.mkdir()
    gemm_table(TRUE).to_csv(path, index=False)
    (job,) = jobs(path, Only("b200", "mine-3.4"))
    assert (job.gpu.name, job.engine) == ("b200", "mine-3.4")
    with pytest.raises(ScenarioError, match="say which with --gpu"):
        jobs(path)
    with pytest.raises(ScenarioError, match=r"'things' is no engine .* --engine"):
        jobs(path, Only("b200"))


def test_two_tables_of_the_same_gpu_and_engine_are_not_mixed(tmp_path: Path) -> None:
    tables = ops(tmp_path, gemm=gemm_table(TRUE))
    place = tables / "h100_sxm"
    (place / "mine-1.2.3").rename(place / "mine-1.2.4")
    ops(tmp_path, gemm=gemm_table(TRUE))
    with pytest.raises(ScenarioError, match=r"two tables 'gemm' of h100 under mine-1.2"):
        jobs(tables)


def test_bad_tables_and_folders_are_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(ScenarioError, match="there is no folder"):
        jobs(tmp_path / "nowhere")
    with pytest.raises(ScenarioError, match="no table to fit; expected files like"):
        jobs(tmp_path)
    tables = ops(tmp_path / "ops", gemm=gemm_table(TRUE).assign(m="many"))
    with pytest.raises(ScenarioError, match="column m: 'many' is not a number"):
        jobs(tables)[0].rows()
    ops(tables, gemm=gemm_table(TRUE).assign(latency=0.0))
    with pytest.raises(ScenarioError, match="latency of 0 or less"):
        jobs(tables)[0].rows()
    (tables / "h100_sxm").rename(tables / "h1000_sxm")
    with pytest.raises(ScenarioError, match="GPU 'h1000_sxm' is not in the catalog"):
        jobs(tables)
    with pytest.raises(ScenarioError, match="--gpu: GPU 'h1' is not in the catalog"):
        jobs(tables, Only("h1"))


def test_exchanges_of_several_releases_are_one_table_of_an_engine(tmp_path: Path) -> None:
    columns = ["system", "collected_with", "node_num", "hidden_size", "num_token", "num_topk",
               "num_experts", "dispatch_avg_t_us", "combine_avg_t_us"]  # fmt: skip
    pairs = product(("h100_sxm", "h200_sxm"), ("sglang-0.5.6", "sglang-0.5.12"))
    rows = [[*pair, 1, 7168, 8, 8, 256, 10.0, 10.0] for pair in pairs]
    path = tmp_path / "deepep_low_latency.csv"
    pd.DataFrame(rows, columns=columns).to_csv(path, index=False)
    found = jobs(path)
    assert [(j.gpu.name, j.engine, len(j.rows())) for j in found] == [
        ("h100", "sglang-0.5", 2), ("h200", "sglang-0.5", 2),
    ]  # fmt: skip
    assert [j.gpu.name for j in jobs(path, Only("h200"))] == ["h200"]


def test_a_measured_gpu_is_fitted_by_the_same_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(grid, "prefills", lambda quick: ())
    monkeypatch.setattr(grid, "decodes", lambda quick: ())
    device = FakeGpu(fp8=False)
    measured = measure_gpu(tmp_path, quick=True, device=device, day=DAY)
    outcome = calibrate(measured.tables, tmp_path, replace(HERE, source=measured.source))
    ((path, made),) = outcome.calibrations
    assert path == tmp_path / "h200" / "torch-2.9.yaml"
    assert made.surfaces["gemm"]["bf16"].surface.hbm == pytest.approx(device.gemm.hbm, rel=0.05)
    assert calibration_names(tmp_path) == ("h200/torch-2.9",)
    assert "on NVIDIA H200 with torch-2.9.1, 2026-01-31" in made.source


def test_collectives_become_lines_for_a_topology_and_no_calibration(tmp_path: Path) -> None:
    calls = grid.exchanges(quick=True)
    device = FakeGpu(gpus=8)
    rows = [
        {"system": "h200_sxm", "nccl_dir": "2.27", "op_name": c.operation, "nccl_dtype": "half",
         "num_gpus": 8, "message_size": c.elements, "latency": 1e3 * seconds}
        for c, seconds in zip(calls, device.exchange(8, calls), strict=True)
    ]  # fmt: skip
    tables = tmp_path / "nccl.csv"
    pd.DataFrame(rows).to_csv(tables, index=False)
    outcome = calibrate(tables, tmp_path / "out", HERE)
    assert not outcome.calibrations
    (row,) = outcome.rows()
    assert (row["kind"], row["variant"], row["engine"]) == ("collectives", "nccl", "")
    assert row["mape"] < 0.05
    block = (tmp_path / "out" / "h200.collectives.yaml").read_text()
    assert block.startswith("# for `collectives:` of a topology file; tables h200 of the folder")
    assert "ring:\n- {launch_s:" in block
    assert calibration_names(tmp_path / "out") == ()


def test_collectives_that_cannot_be_fitted_are_left_out_with_the_reason(tmp_path: Path) -> None:
    row = {"system": "h200_sxm", "nccl_dir": "2", "op_name": "all_reduce", "nccl_dtype": "half",
           "num_gpus": 2, "message_size": 1024, "latency": 0.01}  # fmt: skip
    path = tmp_path / "nccl.csv"
    pd.DataFrame([row]).to_csv(path, index=False)
    assert "must have all_gather" in calibrate(path, tmp_path, HERE).notes[0]
    pd.DataFrame([row | {"system": "mi355x"}]).to_csv(path, index=False)
    assert "is made of mi355x alone" in calibrate(path, tmp_path, HERE).notes[0]


def test_ones_own_calibration_comes_before_others_of_the_same_gpu_only(tmp_path: Path) -> None:
    packaged = own(own(tmp_path / "packaged", "h100", "vllm-0.24", 0.5), "h200", "vllm-0.24", 0.6)
    mine = own(tmp_path / "mine", "h200", "torch-2.9", 0.9)
    folders = (mine, packaged)
    found = Shelf(load_gpu("h200"), ("vllm-0.24",), folders=folders).find("gemm", "bf16")
    assert found.surface.compute == 0.9
    assert found.source == f"fitted to torch-2.9 on h200 (bf16), in '{mine}'"
    assert Shelf(H100, ("vllm-0.24",), folders=folders).find("gemm", "bf16").surface.compute == 0.5
    without = Shelf(H100, ("vllm-0.24",), frozenset({"h100"}), folders).find("gemm", "bf16")
    assert without.surface.compute == 0.9


def test_a_gpu_that_the_catalog_lacks_serves_itself_alone(tmp_path: Path) -> None:
    mine = own(tmp_path, "l20x", "torch-2.9", 0.4)
    assert Shelf(H100, (), folders=(mine,)).find("gemm", "bf16").fitted is None
    l20x = replace(H100, name="l20x")
    assert Shelf(l20x, (), folders=(mine,)).find("gemm", "bf16").surface.compute == 0.4


def test_the_environment_and_the_timer_name_folders(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = own(tmp_path / "first", "h100", "mine-1.0", 0.3)
    second = own(tmp_path / "second", "h100", "mine-1.0", 0.4)
    monkeypatch.setenv(VARIABLE, f"{first}:{second}")
    found = load_calibration("h100", "mine-1.0")
    assert found is not None
    assert found.surfaces["gemm"]["bf16"].surface.compute == 0.3
    assert "h100/mine-1.0" in calibration_names()
    own(first, "h100", "mine-1.0", 0.35)
    again = load_calibration("h100", "mine-1.0")
    assert again is not None
    assert again.surfaces["gemm"]["bf16"].surface.compute == 0.35
    monkeypatch.setenv(VARIABLE, str(tmp_path / "nowhere"))
    with pytest.raises(ScenarioError, match=r"SIM_CALIBRATIONS: .*nowhere' is no folder"):
        Calibrated()
    monkeypatch.delenv(VARIABLE)
    assert Calibrated(calibrations=str(second)).calibrations == str(second)
    with pytest.raises(ScenarioError, match=r"has no GPU/ENGINE.yaml in it"):
        Calibrated(calibrations=str(tmp_path))


def test_a_file_that_is_no_calibration_is_named(tmp_path: Path) -> None:
    path = tmp_path / "x.yaml"
    for text in ("[1, 2", "just: this", "surfaces: {gemm: {bf16: 3}}"):
        path.write_text(text)
        with pytest.raises(ScenarioError, match=r"x\.yaml is no calibration"):
            read_calibration(path)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("compute: 0.5", "compute: 0", "gemm bf16: compute is 0; it must be more than 0"),
        ("compute: 0.5", "compute: .nan", "compute is nan; it must be a finite number"),
        ("compute: 0.5", "compute: half", "compute is 'half'; it must be a finite number"),
        ("compute: 0.5", "compute: [0.5]", "it must be a number"),
        ("compute: 0.5", "compute: 0.5, floor_s: -1.0e-6", "floor_s is -1e-06; it must be 0 or"),
        ("compute: 0.5", "compute: 0.5, splits: []", "splits is empty; it must be a list"),
        ("compute: 0.5", "compute: 0.5, tiles: [[64, .inf]]", "it must be a finite number"),
        ("compute: 0.5", "compuet: 0.5", "has no figure 'compuet'; did you mean 'compute'"),
        ("gpu: h100", "", "is no calibration \\(it has no gpu\\)"),
        ("gpu: h100", "gpu: h200", "says gpu: h200 and engine: mine-1.0; name its folder"),
        ("", None, "is no calibration \\(it is empty\\)"),
    ],
)
def test_a_figure_that_is_none_is_named(
    tmp_path: Path, old: str, new: str | None, said: str
) -> None:
    path = tmp_path / "h100" / "mine-1.0.yaml"
    path.parent.mkdir()
    text = (
        "gpu: h100\nengine: mine-1.0\nsource: me\nfitted: 2026-01-31\n"
        "surfaces: {gemm: {bf16: {figures: {compute: 0.5}, reach: {m: [1, 9]}}}}\n"
    )
    path.write_text(text)
    found = load_calibration("h100", "mine-1.0", folder=tmp_path)
    assert found is not None
    assert found.fitted == "2026-01-31"
    path.write_text("" if new is None else text.replace(old, new))
    os.utime(path, ns=(1, 1))
    with pytest.raises(ScenarioError, match=said):
        load_calibration("h100", "mine-1.0", folder=tmp_path)
