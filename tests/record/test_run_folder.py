"""A run on disk."""

from pathlib import Path

import numpy as np
import pytest

from sim.errors import ScenarioError
from sim.record.log import Log
from sim.record.run_folder import RunFolder
from sim.record.tables import STATES


def test_codes_come_back_as_positions_in_the_contract(tmp_path: Path) -> None:
    run = RunFolder.create(tmp_path / "run")
    log = Log(run.path)
    for i, state in enumerate((3, 0, 2)):
        log.requests((i, 0.0, 1, 1, 0, state, 0, 0.0, 0.0, 0.0, 0, 0, 0, -1, -1))
    log.close()
    assert run.column("requests", "state").tolist() == [3, 0, 2]
    assert run.table("requests").column("state").to_pylist()[0] == STATES[3]
    assert run.rows("requests") == 3


def test_a_table_without_rows_gives_empty_columns(tmp_path: Path) -> None:
    run = RunFolder.create(tmp_path)
    columns = run.columns("transfers", "request", "kind", "start_s")
    assert {name: len(values) for name, values in columns.items()} == {
        "request": 0, "kind": 0, "start_s": 0,
    }  # fmt: skip
    assert columns["start_s"].dtype == np.float64


def test_an_earlier_run_is_replaced_whole(tmp_path: Path) -> None:
    run = RunFolder.create(tmp_path)
    run.write_json("run.json", {"name": "first"})
    run.write_text("report.html", "old")
    RunFolder.create(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_of_other_files_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(ScenarioError, match=r"thesis\.tex"):
        RunFolder.create(tmp_path)
    assert (tmp_path / "thesis.tex").exists()


def test_a_folder_that_cannot_be_written_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ScenarioError, match="cannot be written"):
        RunFolder.create(tmp_path / "file" / "run")


def test_a_folder_that_is_no_run_says_so(tmp_path: Path) -> None:
    with pytest.raises(ScenarioError, match=r"has no run\.json"):
        RunFolder.open(tmp_path)
    RunFolder.create(tmp_path).write_text("run.json", "{")
    with pytest.raises(ScenarioError, match="is not JSON"):
        _ = RunFolder.open(tmp_path).facts
