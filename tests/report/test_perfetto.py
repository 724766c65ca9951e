"""The trace for Perfetto."""

import gzip
import json
from pathlib import Path
from typing import Any

import pytest
from miniature import aggregated, disaggregated, loop
from toy import Toy

from sim.errors import ScenarioError
from sim.report.perfetto import write_trace


def read(path: Path) -> list[dict[str, Any]]:
    raw = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    events: list[dict[str, Any]] = json.loads(raw)["traceEvents"]
    return events


def test_steps_are_slices_in_microseconds(tmp_path: Path) -> None:
    count = write_trace(aggregated().write(tmp_path / "run"), tmp_path / "t.json")
    events = read(tmp_path / "t.json")
    assert len(events) == count
    slices = [e for e in events if e["ph"] == "X"]
    assert [(e["ts"], e["dur"], e["name"]) for e in slices] == [
        (0.0, 1e6, "prefill 100"),
        (1e6, 1e6, "prefill 40 + decode 1"),
        (2e6, 1e6, "decode 2 × 2"),
    ]
    assert slices[0]["args"]["linear_us"] == 5e5


def test_a_handoff_is_an_arrow_from_a_slice_to_a_slice(tmp_path: Path) -> None:
    write_trace(disaggregated().write(tmp_path / "run"), tmp_path / "t.json.gz")
    events = read(tmp_path / "t.json.gz")
    start, end = (next(e for e in events if e["ph"] == p) for p in ("s", "f"))
    assert start["id"] == end["id"]
    assert (start["pid"], end["pid"]) == (1, 2)
    for e in (start, end):
        assert any(
            s["ph"] == "X" and s["pid"] == e["pid"] and s["tid"] == e["tid"]
            and s["ts"] <= e["ts"] <= s["ts"] + s["dur"]
            for s in events
        )  # fmt: skip
    begun, done = (next(e for e in events if e["ph"] == p) for p in ("b", "e"))
    assert (begun["ts"], done["ts"]) == (1.75e6, 2.5e6)


def test_flows_pair_up_and_slices_of_a_track_do_not_overlap(tmp_path: Path) -> None:
    run = Toy(2, pools="disaggregated", ranks=2, first_token="prefill", requests=40).play(
        tmp_path / "run"
    )
    write_trace(run, tmp_path / "t.json")
    events = read(tmp_path / "t.json")
    starts = {e["id"]: e for e in events if e["ph"] == "s"}
    ends = {e["id"]: e for e in events if e["ph"] == "f"}
    assert starts.keys() == ends.keys()
    assert len(starts) > 10
    assert all(starts[i]["ts"] <= ends[i]["ts"] for i in starts)
    tracks: dict[tuple[int, int], float] = {}
    for e in events:
        if e["ph"] == "X":
            track = (e["pid"], e["tid"])
            assert e["ts"] >= tracks.get(track, 0.0) - 0.002
            tracks[track] = e["ts"] + e["dur"]


def test_counters_follow_links_and_the_same_run_gives_the_same_bytes(tmp_path: Path) -> None:
    run = disaggregated().write(tmp_path / "run")
    for name in ("a.json.gz", "b.json.gz"):
        write_trace(run, tmp_path / name)
    assert (tmp_path / "a.json.gz").read_bytes() == (tmp_path / "b.json.gz").read_bytes()
    names = {e["name"] for e in read(tmp_path / "a.json.gz") if e["ph"] == "C"}
    assert "host0->leaf" in names


def test_a_trace_that_cannot_be_written_is_one_sentence(tmp_path: Path) -> None:
    run = aggregated().write(tmp_path / "run")
    with pytest.raises(ScenarioError, match="cannot be written"):
        write_trace(run, tmp_path / "nowhere" / "t.json")


def test_a_loop_is_a_process_with_a_track_for_each_actor(tmp_path: Path) -> None:
    write_trace(loop().write(tmp_path / "run"), tmp_path / "t.json")
    events = [e for e in read(tmp_path / "t.json") if e["pid"] == 2]
    tracks = {e["tid"]: e["args"]["name"] for e in events if e["name"] == "thread_name"}
    assert list(tracks.values()) == ["steps", "rollout", "reward", "trainer", "weight sync"]
    slices = [(tracks[e["tid"]], e["name"], e["ts"], e["dur"]) for e in events if e["ph"] == "X"]
    assert ("steps", "step 1", 8e6, 6e6) in slices
    assert ("trainer", "training", 4e6, 3e6) in slices
    assert ("weight sync", "weight sync", 13e6, 1e6) in slices
    counters = {e["name"] for e in events if e["ph"] == "C"}
    assert counters == {
        "staleness", "samples being generated", "samples being scored", "samples buffered",
    }  # fmt: skip
    assert [e["args"]["versions"] for e in events if e["name"] == "staleness"] == [0.0, 0.25]
