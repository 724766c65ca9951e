"""`sim validate` as a user types it."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest
from desk import Desk

ROW = {
    "system": "h100_sxm", "backend": "vllm", "model_path": "meta-llama/Llama-3.1-8B",
    "precision": "fp8", "isl": 256, "osl": 16, "tp_size": 1, "concurrency": 2,
    "silicon_ttft_ms": 20.0, "silicon_tpot_ms": 5.0,
}  # fmt: skip


@pytest.fixture
def points(tmp_path: Path) -> Path:
    path = tmp_path / "silicon_points_mine.csv"
    pd.DataFrame([ROW, ROW | {"concurrency": 4}, ROW | {"model_path": "acme/x"}]).to_csv(path)
    return path


def test_groups_are_printed_with_worst_rows_and_what_is_outside(desk: Desk, points: Path) -> None:
    said = desk.sim("validate", "points", points)
    assert said.code == 0
    assert "h100 vllm llama-3.1-8b fp8 TP1 TPOT" in said.out
    assert "worst rows" in said.out
    assert "outside: 1 row: model 'acme/x' is not in the catalog" in " ".join(said.out.split())


def test_a_target_is_said_to_be_met_or_not(desk: Desk, points: Path) -> None:
    said = " ".join(desk.sim("validate", "points", points).out.split())
    assert "MAPE ≤ 10 %, not met" in said or "MAPE ≤ 10 %, met" in said


def test_a_file_of_which_nothing_could_be_compared_is_a_mistake(desk: Desk) -> None:
    path = desk.folder / "silicon_points_far.csv"
    pd.DataFrame([ROW | {"model_path": "acme/x"}] * 2).to_csv(path, index=False)
    said = desk.sim("validate", "points", path, "--json")
    assert said.code == 2
    assert json.loads(said.out)[0]["outside"] == 2
    assert "could be compared: model 'acme/x' is not in the catalog" in said.err


def test_json_is_a_list_of_groups_and_nothing_else(desk: Desk, points: Path) -> None:
    groups = json.loads(desk.sim("validate", "points", points, "--json").out)
    keys = {"kind", "group", "rows", "mape", "median_ape", "p90_ape", "bias", "outside"}
    assert all(g.keys() == keys for g in groups)
    assert sum(g["outside"] for g in groups if not g["group"].startswith("all ")) == 2


def test_rows_page_and_accuracy_are_written_where_asked(desk: Desk, points: Path) -> None:
    names = ("rows.csv", "page.html", "accuracy.md")
    options = [w for o, n in zip(("--out", "--html", "--page"), names, strict=True) for w in (o, n)]
    said = desk.sim("validate", "points", points, "--limit", 2, *options)
    assert said.code == 0
    rows = pd.read_csv(desk.folder / "rows.csv")
    assert len(rows) == 4  # two points, two latencies
    assert rows["error"].notna().sum() == 2
    assert "Plotly" in (desk.folder / "page.html").read_text()
    assert "# Accuracy" in (desk.folder / "accuracy.md").read_text()


def test_a_setting_of_the_played_scenario_can_be_changed(desk: Desk, points: Path) -> None:
    def tpot(*words: str) -> float:
        groups = json.loads(desk.sim("validate", "points", points, "--json", *words).out)
        return next(g["bias"] for g in groups if "llama" in g["group"] and "TPOT" in g["group"])

    assert tpot("--set", "pools.serve.timer={roofline: {hbm: 0.2}}") > tpot()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("validate", "pionts", "x.csv"), "did you mean 'points'?"),
        (("validate", "points", "nowhere.csv"), "there is no file 'nowhere.csv'"),
        (("validate", "points", "small.yaml"), "needs"),
        (("validate", "run", "."), "no measurements of kind 'run'"),
        (
            ("validate", "points", "silicon_points_mine.csv", "--set", "pools.serve.engines=many"),
            "the scenario of a measurement: 'pools.serve.engines' is 'many'",
        ),
        (
            ("validate", "points", "silicon_points_mine.csv", "--min-us", "5"),
            "--min-us has no effect on kind 'points'",
        ),
        (("validate", "all", "empty"), "no measurements that are known"),
    ],
)
@pytest.mark.usefixtures("points")
def test_mistakes_are_one_sentence(desk: Desk, words: tuple[str, ...], said: str) -> None:
    (desk.folder / "empty").mkdir()
    assert said in desk.mistake(*words)
