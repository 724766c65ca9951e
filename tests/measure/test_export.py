"""Tables for other tools."""

import csv
from pathlib import Path

import pytest
from miniature import aggregated

from sim.errors import ScenarioError
from sim.measure.export import export_csv
from sim.measure.latency import request_frame
from sim.measure.summary import measure


def test_every_table_is_exported_with_words_for_codes(tmp_path: Path) -> None:
    run = aggregated().write(tmp_path / "run")
    measure(run)
    written = {p.name for p in export_csv(run, tmp_path / "csv")}
    assert {"requests.csv", "steps.csv", "attribution.csv"} <= written
    assert "samples.csv" not in written
    with (tmp_path / "csv" / "requests.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [r["state"] for r in rows] == ["finished", "finished", "rejected"]


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    run = aggregated().write(tmp_path / "run")
    with pytest.raises(ScenarioError, match="cannot be written"):
        export_csv(run, tmp_path / "file")


def test_a_frame_of_requests_has_latencies_beside_the_columns(tmp_path: Path) -> None:
    frame = request_frame(aggregated().write(tmp_path))
    assert frame["ttft_s"].tolist()[:2] == [1.0, 1.75]
    assert frame["reason"].tolist() == ["", "", "context"]
