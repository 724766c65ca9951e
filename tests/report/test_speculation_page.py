"""A run in which engines speculate, as its reader sees it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from helpers import generated, planned, serving

from sim.measure.summary import measure
from sim.record.run_folder import RunFolder
from sim.report.explain import explain
from sim.report.figures.speculation import Speculation
from sim.report.html import render
from sim.report.perfetto import write_trace
from sim.scenario.simulation import simulate


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    """Twenty requests of 100 tokens, EAGLE."""
    folder = RunFolder.create(tmp_path_factory.mktemp("run"))
    draft = {"eagle": {"acceptance": {"iid": 0.75}}}
    workload = generated(20, 200, 100, {"poisson": {"rate_per_s": 20.0}})
    tree: dict[str, Any] = serving(workload, pools={"serve": {"speculation": draft}})
    simulate(planned(tree), folder)
    measure(folder)
    return folder


def test_the_page_has_its_figure_and_its_card(run: RunFolder) -> None:
    page = render(run)
    assert "figure-speculation" in page
    assert "Tokens per verify step" in page


def test_the_figure_names_its_axes_and_shows_every_step(run: RunFolder) -> None:
    drawn = Speculation().draw(run)
    titles = [a.title.text for a in drawn.select_xaxes()]
    assert all("(" in title for title in titles)
    bursts = run.columns("bursts")
    assert sum(drawn.data[-1].y) == (bursts["sequences"] > 0).sum()


def test_a_life_tells_of_verify_steps_and_drafting(run: RunFolder) -> None:
    told = explain(run, 3)
    assert "verify steps, slot 0" in told
    assert "drafting tokens ahead" in told


def test_a_trace_tells_what_each_step_drafted_and_what_was_accepted(
    run: RunFolder, tmp_path: Path
) -> None:
    path = tmp_path / "trace.json"
    write_trace(run, path)
    events = json.loads(path.read_text())["traceEvents"]
    steps = [e["args"] for e in events if e.get("cat") == "step" and "draft_tokens" in e["args"]]
    assert sum(a["accepted"] for a in steps) == run.columns("steps")["accepted"].sum()
    assert all(a["draft_us"] > 0 for a in steps)
