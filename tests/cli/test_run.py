"""`sim run`: what is printed, what is written, which setting wins."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml
from desk import Desk, scenario

from sim.cli.progress import Bar


def summary(folder: Path | str) -> dict[str, Any]:
    read: dict[str, Any] = json.loads((Path(folder) / "summary.json").read_text())
    return read


def resolved(folder: Path | str) -> dict[str, Any]:
    read: dict[str, Any] = yaml.safe_load((Path(folder) / "scenario.yaml").read_text())
    return read


def test_a_run_prints_its_summary_and_says_where_everything_is(desk: Desk) -> None:
    said = desk.sim("run", desk.file)
    assert said.code == 0
    assert "TTFT" in said.out
    assert "12  of 12" in said.out
    assert "run:    runs/small-001" in said.err
    assert "report: runs/small-001/report.html" in said.err
    assert Path("runs/small-001/report.html").is_file()
    assert "requests" not in said.err.split("\n", 1)[1]


def test_runs_of_one_name_are_counted(desk: Desk) -> None:
    for _ in range(2):
        desk.sim("run", desk.file, "--no-report")
    assert sorted(p.name for p in Path("runs").iterdir()) == ["small-001", "small-002"]
    assert not Path("runs/small-001/report.html").exists()


def test_a_name_with_slashes_stays_inside_runs(desk: Desk) -> None:
    desk.write(name="../../a b")
    desk.sim("run", desk.file, "--no-report")
    assert [p.name for p in Path("runs").iterdir()] == ["a-b-001"]


def test_json_is_the_summary_and_nothing_else(desk: Desk) -> None:
    said = desk.sim("run", desk.file, "--json", "--no-report", "--out", "mine")
    assert json.loads(said.out) == summary("mine")


def test_set_wins_over_the_file_and_seed_over_both(desk: Desk) -> None:
    desk.write(seed=1)
    desk.sim("run", desk.file, "--no-report", "--out", "a", "--set", "seed=2")
    assert resolved("a")["seed"] == 2
    desk.sim("run", desk.file, "--no-report", "--out", "b", "--set", "seed=2", "--seed", 3)
    assert resolved("b")["seed"] == 3


def test_the_last_of_two_equal_settings_counts(desk: Desk) -> None:
    sets = ("--set", "workload.requests=3", "--set", "workload.requests=5")
    desk.sim("run", desk.file, "--no-report", "--out", "a", *sets)
    assert summary("a")["requests"]["arrived"] == 5


@pytest.mark.parametrize("until", ["250 ms", "0.25", "0.25s"])
def test_until_ends_the_run_early_and_counts_what_is_unfinished(desk: Desk, until: str) -> None:
    said = desk.sim("run", desk.file, "--until", until, "--no-report", "--out", "a")
    assert said.code == 0
    counts = summary("a")["requests"]
    assert counts["unfinished"] > 0
    assert counts["arrived"] == counts["finished"] + counts["unfinished"] < 12
    assert not summary("a")["partial"]
    assert resolved("a")["until_s"] == 0.25
    assert f"{counts['unfinished']} unfinished" in said.out


def test_a_run_that_ends_before_anything_arrives_has_no_numbers(desk: Desk) -> None:
    said = desk.sim("run", desk.file, "--until", "1 ns", "--out", "a")
    assert said.code == 0
    assert summary("a")["requests"]["arrived"] == 0


def test_what_is_longer_than_the_context_is_rejected_and_counted(desk: Desk) -> None:
    desk.write(pools={"serve": {"engine": {"max_num_seqs": 8, "max_model_len": 200}}})
    said = desk.sim("run", desk.file, "--out", "a")
    counts = summary("a")["requests"]
    assert said.code == 0
    assert 0 < counts["rejected"] < 12
    assert counts["finished"] + counts["rejected"] == 12
    assert f"{counts['rejected']} rejected" in said.out
    expected = f"{counts['rejected']} of 12 requests are longer than 200 tokens, its context"
    assert expected in " ".join(desk.sim("check", desk.file).out.split())


def test_what_is_larger_than_the_kv_pool_is_rejected_and_counted(desk: Desk) -> None:
    work = scenario()["workload"] | {"prompt_tokens": {"uniform": _SPREAD}, "requests": 6}
    desk.write(workload=work, pools={"serve": {"engine": _TIGHT}})
    assert desk.sim("run", desk.file, "--out", "a", "--no-report").code == 0
    counts = summary("a")["requests"]
    assert 0 < counts["rejected"] < 6
    assert counts["finished"] + counts["rejected"] == 6
    checked = json.loads(desk.sim("check", desk.file, "--json").out)
    assert checked["warnings"][0].startswith(f"{counts['rejected']} of 6 requests are longer than")
    assert "what its KV pool holds" in checked["warnings"][0]


_SPREAD = {"min_tokens": 500, "max_tokens": 20_000}
_TIGHT = {"max_num_seqs": 8, "gpu_memory_utilization": 0.2325}
"""About a gigabyte of KV cache."""


def test_a_run_folder_can_be_played_again_from_its_own_scenario(desk: Desk) -> None:
    desk.sim("run", desk.file, "--out", "a", "--no-report")
    desk.sim("run", "a/scenario.yaml", "--out", "b", "--no-report")
    assert summary("a") == summary("b")
    assert resolved("a") == resolved("b")


def test_a_run_into_the_folder_of_an_earlier_one_replaces_it(desk: Desk) -> None:
    desk.sim("run", desk.file, "--out", "a")
    desk.sim("run", desk.file, "--out", "a", "--no-report", "--set", "workload.requests=3")
    assert summary("a")["requests"]["arrived"] == 3
    assert not Path("a/report.html").exists()


def test_report_explain_and_trace_read_a_run(desk: Desk) -> None:
    desk.sim("run", desk.file, "--out", "a", "--no-report")
    assert desk.sim("report", "a", "--csv", "tables").code == 0
    assert Path("a/report.html").is_file()
    assert {"requests.csv", "steps.csv", "attribution.csv"} <= {
        p.name for p in Path("tables").iterdir()
    }
    assert desk.sim("report", "a", "--out", "page.html").out == "page.html\n"
    assert Path("page.html").read_text() == Path("a/report.html").read_text()
    assert desk.sim("trace", "a").out == "a/trace.json.gz\n"
    assert desk.sim("trace", "a", "--out", "t.json").code == 0
    assert json.loads(Path("t.json").read_text())["traceEvents"]
    assert "arrives" in desk.sim("explain", "a", "--request", 3).out
    assert "has no samples" in desk.mistake("explain", "a", "--sample", 3)
    life = json.loads(desk.sim("explain", "a", "--request", 3, "--json").out)
    assert life["request"]["state"] == "finished"


def test_a_run_without_a_summary_is_measured_by_report(desk: Desk) -> None:
    desk.sim("run", desk.file, "--out", "a", "--no-report")
    before = Path("a/summary.json").read_bytes()
    Path("a/summary.json").unlink()
    assert desk.sim("report", "a").code == 0
    assert Path("a/summary.json").read_bytes() == before


def test_a_relative_trace_is_found_beside_the_scenario(desk: Desk) -> None:
    (desk.folder / "study").mkdir()
    desk.write(workload={"path": "t.csv"})
    shutil.move(desk.file, "study/small.yaml")
    Path("study/t.csv").write_text("arrival_s,prompt_tokens,output_tokens\n0.0,10,5\n")
    assert desk.sim("run", "study/small.yaml", "--no-report").code == 0


def test_the_progress_bar_is_silent_without_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    with Bar() as bar:
        bar(1, 10, 0.5)
        bar.doing("measuring")
    assert capsys.readouterr() == ("", "")


def test_the_progress_bar_shows_itself_on_a_terminal_after_a_second(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sim.cli.progress.PATIENCE_S", 0.0)
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "120")
    with Bar() as bar:
        bar(1, 10, 0.5)
    shown = capsys.readouterr()
    assert "1 of 10 requests, 0.5 s simulated" in shown.err
    assert shown.out == ""
