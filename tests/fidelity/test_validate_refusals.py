"""Files of measurements and options that are no such: what is said of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from lab.measurements import points, served, table

from sim.errors import ScenarioError
from sim.fidelity.kinds import Options
from sim.fidelity.validate import validate


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"isl": -5}, "line 2, column isl: -5 is not a whole number from 1 on"),
        ({"isl": 12.5}, "column isl: 12.5 is not a whole number"),
        ({"tp_size": 0}, "column tp_size: 0 is not"),
        ({"concurrency": 8.5}, "column concurrency: 8.5 is not"),
        ({"concurrency": "many"}, "column concurrency: 'many' is not"),
        ({"isl": 1e30}, r"column isl: 1e\+30 is not"),
        ({"moe_ep_size": -1}, "column moe_ep_size: -1 is not a whole number from 0 on"),
        ({"silicon_ttft_ms": 0.0}, "column silicon_ttft_ms: 0.0 is not a time of more than 0"),
        ({"silicon_tpot_ms": -1.0}, "column silicon_tpot_ms: -1.0 is not a time"),
        ({"silicon_tpot_ms": None}, "column silicon_tpot_ms: an empty cell is not a number"),
    ],
)
def test_a_load_point_with_a_cell_that_is_none_is_named_by_line_and_column(
    tmp_path: Path, changes: dict[str, Any], said: str
) -> None:
    with pytest.raises(ScenarioError, match=said):
        validate("points", points(tmp_path, changes))


def test_an_answer_of_one_token_may_have_no_tpot(tmp_path: Path) -> None:
    rows = validate("points", points(tmp_path, {"osl": 1, "silicon_tpot_ms": 0.0})).rows
    assert (rows["outside"] == "").tolist() == [True, False]


def test_another_pool_than_the_measured_one_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ScenarioError, match="the only pool of a measurement is 'serve'"):
        validate("points", points(tmp_path, {}), Options(overrides=("pools.foo.timer=roofline",)))


@pytest.mark.parametrize("row", [0, 1], ids=["first", "second"])
def test_a_line_with_more_fields_than_the_header_is_named(tmp_path: Path, row: int) -> None:
    path = points(tmp_path, {}, {}, {})
    lines = path.read_text().splitlines()
    lines[1 + row] += ",7"
    path.write_text("\n".join(lines))
    with pytest.raises(ScenarioError, match=rf"line {row + 2} has 12 fields and the header 11"):
        validate("points", path)


@pytest.mark.parametrize(
    ("columns", "said"),
    [
        ({"m": -128}, "column m: -128 is not a whole number from 1 on"),
        ({"k": 12.5}, "column k: 12.5 is not"),
        ({"latency": [1.0, 0.0, 1.0, 1.0]}, "line 3, column latency: 0.0 is not a time"),
    ],
)
def test_a_kernel_without_a_shape_or_a_time_is_named(
    tmp_path: Path, columns: dict[str, Any], said: str
) -> None:
    with pytest.raises(ScenarioError, match=said):
        validate("ops", table(tmp_path / "h100_sxm" / "vllm-0.24.0", **columns))


def test_options_against_which_the_path_speaks_are_refused(tmp_path: Path) -> None:
    path = table(tmp_path / "h100_sxm" / "vllm-0.24.0")
    for options, said in (
        (Options(gpu="h200"), "--gpu says h200 and the path of .* says h100"),
        (Options(engine="trtllm-1.3"), "--engine says trtllm-1.3 and the path of .* vllm-0.24"),
    ):
        with pytest.raises(ScenarioError, match=said):
            validate("ops", path, options)
    assert len(validate("ops", path, Options(gpu="h100", engine="vllm-0.24.1")))
    with pytest.raises(ScenarioError, match="no calibration of 'vllm-9'"):
        validate("ops", table(tmp_path, "mine.csv"), Options(gpu="h100", engine="vllm-9"))
    with pytest.raises(ScenarioError, match=r"--gpu says h100 and the path of .* rtxpro6000"):
        validate("run", served(tmp_path), Options(gpu="h100"))


def test_layer_times_of_nothing_are_named(tmp_path: Path) -> None:
    folder = tmp_path / "rtxpro6000_llama31_8b"
    folder.mkdir()
    path = folder / "dense_tp1.csv"
    pd.DataFrame({"layer": ["qkv_proj"], "tokens": 8, "time_us": [0.0]}).to_csv(path, index=False)
    with pytest.raises(ScenarioError, match=r"line 2, column time_us: 0.0 is not a time"):
        validate("steps", path)
    path.write_text(path.read_text().replace("0.0", "1.0"))
    with pytest.raises(ScenarioError, match=r"--gpu says h100 and the path of .* rtxpro6000"):
        validate("steps", path, Options(gpu="h100"))


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("silicon_points_mien.csv", "did you mean '.*silicon_points_mine.csv'"),
        ("zzzz.csv", r"has silicon_points_mine.csv$"),
        ("zzzz/x.csv", "there is no folder '.*/zzzz' either"),
    ],
)
def test_a_path_that_ends_nowhere_is_told_what_is_near(
    tmp_path: Path, name: str, said: str
) -> None:
    points(tmp_path, {})
    with pytest.raises(ScenarioError, match=said):
        validate("points", tmp_path / name)


def test_the_root_folder_is_not_listed() -> None:
    with pytest.raises(ScenarioError, match="mend the path"):
        validate("points", Path("/qqqqqqqq.csv"))
