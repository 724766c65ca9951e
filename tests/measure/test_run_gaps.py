"""Gaps between tokens from the bounds of runs of steps, against those from every step."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from miniature import aggregated, disaggregated
from test_simulated import BASE, WAYS
from toy import Toy

from sim.errors import ScenarioError
from sim.measure.gaps import Tokens
from sim.measure.latency import Requests
from sim.measure.ledger import Ledger
from sim.measure.run_gaps import Rows, RunTokens
from sim.measure.stays import Stays
from sim.measure.summary import NOT_SPLIT, measure
from sim.record.run_folder import RunFolder
from sim.report import write_report
from sim.scenario.planning import plan
from sim.scenario.scenario import Scenario
from sim.scenario.simulation import simulate


def both(run: RunFolder) -> tuple[RunTokens, Tokens]:
    """The tokens from the runs' bounds, and from the clock."""
    ledger, requests = Ledger.read(run), Requests.read(run)
    stays = Stays.read(run, ledger)
    return RunTokens.of(Rows.of(ledger), stays, requests), Tokens.read(run, stays, requests)


def played(tree: dict[str, Any], folder: Path, **record: Any) -> RunFolder:
    run = RunFolder.create(folder)
    simulate(plan(Scenario.of(tree | {"record": record})), run)
    return run


@pytest.mark.parametrize("tables", (aggregated, disaggregated))
def test_steps_of_one_length_have_the_same_gaps_either_way(tmp_path: Path, tables: Any) -> None:
    by_runs, by_steps = both(tables().write(tmp_path))
    for span in ((-np.inf, np.inf), (1.0, 2.0), (2.0, 2.5), (2.25, 3.25)):
        one, other = by_runs.gaps(*span), by_steps.gaps(*span)
        assert (
            np.repeat(one.values, one.weights).tolist()
            == np.repeat(other.values, other.weights).tolist()
        )
        assert by_runs.made(*span) == by_steps.made(*span)


def test_tokens_of_runs_are_as_many_as_of_steps_and_their_gaps_sum_to_the_same(
    tmp_path: Path,
) -> None:
    for seed in range(10):
        toy = Toy(seed, pools="disaggregated", ranks=1 + seed % 2, first_token="prefill")
        by_runs, by_steps = both(toy.play(tmp_path))
        assert by_runs.made() == by_steps.made()
        assert by_runs.gaps().count == by_steps.gaps().count
        assert by_runs.gaps().total == pytest.approx(by_steps.gaps().total, abs=1e-9)


@pytest.mark.parametrize("way", WAYS)
def test_gaps_of_a_simulated_run_are_as_many_and_sum_to_the_same(way: str, tmp_path: Path) -> None:
    run = played(BASE | WAYS[way], tmp_path)
    by_runs, by_steps = both(run)
    end = run.facts["simulated_s"]
    for span in ((-np.inf, np.inf), (0.2 * end, 0.7 * end)):
        one, other = by_runs.gaps(*span), by_steps.gaps(*span)
        bounded = span[1] < np.inf
        # at the window's edges a step may fall on the other side: one batch of a rank at most
        slack = 2 * by_runs.members.max() * len(run.facts["engines"]) * 4 if bounded else 0
        assert abs(one.count - other.count) <= slack
        assert abs(by_runs.made(*span) - by_steps.made(*span)) <= slack
        if not bounded:
            assert one.total == pytest.approx(other.total, abs=1e-9)
        # few bursts in a pipeline: the 99th of a hundred is between two neighbours
        near = 0.08 if way == "speculating, pipelined" else 0.02
        assert one.quantiles([0.5, 0.99]) == pytest.approx(other.quantiles([0.5, 0.99]), rel=near)


@pytest.mark.parametrize("way", ("chunked", "handed_off", "ranks"))
def test_a_run_without_single_steps_has_the_same_other_tables_and_says_so(
    way: str, tmp_path: Path
) -> None:
    whole = played(BASE | WAYS[way], tmp_path / "steps")
    brief = played(BASE | WAYS[way], tmp_path / "runs", clock="runs")
    assert brief.rows("clock") == 0
    for table in ("requests", "intervals", "chunks", "transfers"):
        assert brief.table(table).equals(whole.table(table))
    known, found = measure(whole), measure(brief)
    assert (known["clock"], found["clock"]) == ("steps", "runs")
    assert found["itl_s"]["mean"] == pytest.approx(known["itl_s"]["mean"], rel=1e-9)
    assert found["output_tokens"] == known["output_tokens"]
    assert found["attribution"]["e2e_s"] == pytest.approx(known["attribution"]["e2e_s"], abs=1e-9)
    assert "record.clock: runs" in write_report(brief).read_text()
    assert "record.clock: runs" not in write_report(whole).read_text()


@pytest.mark.parametrize("way", ("speculating", "speculating, preempting", "speculating, ranks"))
def test_causes_and_verdicts_are_exact_without_single_steps(way: str, tmp_path: Path) -> None:
    """They come from the lanes' journals, which a run keeps whatever it writes."""
    whole = played(BASE | WAYS[way], tmp_path / "steps")
    brief = played(BASE | WAYS[way], tmp_path / "runs", clock="runs")
    assert whole.rows("bursts") > brief.rows("bursts") == 0
    for table in ("requests", "intervals", "chunks", "steps"):
        same, other = whole.columns(table), brief.columns(table)
        for name, column in same.items():
            np.testing.assert_array_equal(other[name], column, f"{table}.{name}")
    known, found = measure(whole), measure(brief)
    assert found["speculation"] == known["speculation"]
    assert found["attribution"]["e2e_s"] == pytest.approx(known["attribution"]["e2e_s"], abs=1e-9)
    assert found["output_tokens"] == known["output_tokens"]
    assert found["itl_s"]["mean"] == pytest.approx(known["itl_s"]["mean"], rel=1e-9)


def test_latencies_are_split_only_where_that_is_wanted(tmp_path: Path) -> None:
    run = played(BASE | WAYS["chunked"], tmp_path, attribution=False)
    summary = measure(run)
    assert not run.has("attribution.parquet")
    assert (summary["attribution"], summary["bottleneck"]) == ({}, NOT_SPLIT)
    assert "Parts of TTFT" not in write_report(run).read_text()


def test_an_unknown_way_of_recording_is_refused() -> None:
    with pytest.raises(ScenarioError, match=r"'record.clock' is 'some'; it must be 'steps' or"):
        Scenario.of(BASE | WAYS["chunked"] | {"record": {"clock": "some"}})
