"""Published loops of reinforcement learning beside ours: experiments/004-rl-loops.

Rows must follow from the runs that are kept, a few runs are played again, and what is not within
its tolerance must say why.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest
import yaml

FOLDER = Path(__file__).resolve().parents[2] / "experiments" / "004-rl-loops"
OWN = {file.stem for file in FOLDER.glob("*.py")}
AGAIN = "run `python experiments/004-rl-loops/reproduce.py --write`, and look at what changed"

Cells = dict[str, str]


@pytest.fixture(scope="module")
def script() -> Iterator[ModuleType]:
    """The experiment's script; its modules do not stay behind."""
    before = list(sys.path)
    sys.path.insert(0, str(FOLDER))
    for name in OWN:
        sys.modules.pop(name, None)
    yield importlib.import_module("reproduce")
    sys.path[:] = before
    for name in OWN:
        sys.modules.pop(name, None)


@pytest.fixture(scope="module")
def runs(script: ModuleType) -> list[Cells]:
    kept: list[Cells] = script.read(script.RUNS)
    return kept


@pytest.fixture(scope="module")
def rows(script: ModuleType) -> list[Cells]:
    written: list[Cells] = script.read(script.RESULTS)
    return written


def test_every_row_follows_from_the_runs_that_are_kept(
    script: ModuleType, runs: list[Cells], rows: list[Cells]
) -> None:
    made = [row for module in script.chapters() for row in script.rows_of(module, runs)]
    assert made == rows, AGAIN


def test_cheap_runs_come_out_as_they_are_kept(script: ModuleType, runs: list[Cells]) -> None:
    play = importlib.import_module("play").play
    kept = {(r["chapter"], r["run"]): r for r in runs}
    moved = []
    for module in script.chapters():
        for name in module.QUICK:
            run, line = module.RUNS[name], kept[module.__name__, name]
            now = play(run).cells()
            moved += [
                f"{module.__name__} {name}: {key} {line[key]} → {value}"
                for key, value in now.items()
                if float(value) != pytest.approx(float(line[key]), rel=1e-3, abs=1e-6)
            ]
    assert not moved, f"{AGAIN}: {'; '.join(moved)}"


def test_runs_are_those_of_the_chapters(script: ModuleType, runs: list[Cells]) -> None:
    named = {(m.__name__, n): r.command for m in script.chapters() for n, r in m.RUNS.items()}
    assert {(r["chapter"], r["run"]): r["command"] for r in runs} == named, AGAIN


def test_every_row_has_a_name_of_its_own(rows: list[Cells]) -> None:
    names = [row["id"] for row in rows]
    assert len(names) == len(set(names)) > 90


def test_a_figure_outside_its_tolerance_says_why(rows: list[Cells]) -> None:
    silent = [
        r["id"] for r in rows if r["verdict"] in ("outside", "not modelled") and not r["cause"]
    ]
    assert not silent


def test_a_withheld_figure_is_not_compared(rows: list[Cells]) -> None:
    for row in rows:
        assert (row["theirs"] == "withheld") == (row["verdict"] == "predicted"), row["id"]


def test_most_comparisons_hold(rows: list[Cells]) -> None:
    compared = [r for r in rows if r["verdict"] in ("within", "outside")]
    good = sum(r["verdict"] == "within" for r in compared)
    assert good / len(compared) > 0.5


def test_the_readme_holds_the_results(script: ModuleType, rows: list[Cells]) -> None:
    block = script.BEGIN + script.readme_block(rows) + script.END
    assert block in script.README.read_text(encoding="utf-8"), AGAIN


def test_every_law_of_lengths_has_the_mean_that_is_stated(script: ModuleType) -> None:
    law = importlib.import_module("length_law")
    for name, (mean, _) in law.MEANS.items():
        text = (FOLDER / "scenarios" / f"{name}.yaml").read_text(encoding="utf-8")
        given = yaml.safe_load(text)["rl"]["response_tokens"]["lognormal"]
        assert given["sigma"] == law.SIGMA
        wanted = law.uncut_mean(mean, given["max_tokens"])
        assert given["mean_tokens"] == pytest.approx(wanted, rel=0.02), name
    known = {p.stem for p in (FOLDER / "scenarios").glob("*.yaml")} - {"weight_sync", "gb200_nvl64"}
    assert known == set(law.MEANS)


def test_the_rack_of_64_is_that_of_72_with_16_trays() -> None:
    root = FOLDER.parents[1]
    own = yaml.safe_load((FOLDER / "scenarios" / "gb200_nvl64.yaml").read_text(encoding="utf-8"))
    full = yaml.safe_load((root / "topologies" / "gb200_nvl72.yaml").read_text(encoding="utf-8"))
    assert own["groups"][0]["shape"]["nvl72"].pop("trays") == 16
    assert full["groups"][0]["shape"]["nvl72"].pop("trays") == 18
    assert (own["groups"], own["collectives"]) == (full["groups"], full["collectives"])
