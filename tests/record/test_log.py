"""The log: rows in, columns out, in groups that are cut by number and never by time."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sim.record import log as log_module
from sim.record.log import Log, TableWriter
from sim.record.tables import CHUNKS, RL_TABLES, TABLES


def chunk(i: int) -> tuple[int, ...]:
    return (i, 0, 0, 0, i, i % 7 + 1, 0)


@pytest.fixture
def small_groups(monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.setattr(log_module, "GROUP_ROWS", 8)
    return 8


def test_rows_come_out_as_they_went_in() -> None:
    log = Log(None)
    for i in range(5):
        log.chunks(chunk(i))
    log.close()
    kept = log.writers["chunks"].kept()
    assert kept["request"].to_pylist() == list(range(5))
    assert kept["tokens"].to_pylist() == [1, 2, 3, 4, 5]
    assert kept.schema.names == [c.name for c in CHUNKS.columns]


def test_codes_come_out_as_words_and_nan_as_nan() -> None:
    log = Log(None)
    log.engines((0, 1.5, 1, 0))
    log.close()
    kept = log.writers["engines"].kept()
    assert kept["state"].to_pylist() == ["paused"]
    assert kept["time_s"].to_pylist() == [1.5]


@given(n=st.integers(0, 60), looks=st.lists(st.integers(0, 60), max_size=10))
@settings(max_examples=30)
def test_when_it_is_looked_at_does_not_change_what_is_written(n: int, looks: list[int]) -> None:
    before = log_module.GROUP_ROWS
    log_module.GROUP_ROWS = 8
    try:
        tables = []
        for pumped in (set(), set(looks)):
            writer = TableWriter(CHUNKS, None)
            for i in range(n):
                writer.emit(chunk(i))
                if i in pumped:
                    writer.pump()
            writer.pump(last=True)
            tables.append(writer.kept())
        assert tables[0].equals(tables[1])
        assert tables[0].num_rows == n
    finally:
        log_module.GROUP_ROWS = before


def test_a_file_holds_the_same_rows_in_full_groups(tmp_path: Path, small_groups: int) -> None:
    log = Log(tmp_path)
    for i in range(20):
        log.chunks(chunk(i))
        log.pump()
    log.close()
    file = pq.ParquetFile(tmp_path / "chunks.parquet")
    sizes = [file.metadata.row_group(g).num_rows for g in range(file.num_row_groups)]
    assert sizes == [small_groups, small_groups, 4]
    assert file.read()["request"].to_pylist() == list(range(20))


def test_a_group_of_steps_never_splits_the_ranks_of_a_step(small_groups: int) -> None:
    """Causes are derived by step, over all ranks: 3 ranks and groups of 8 rows."""
    steps, seen = TABLES["steps"], []

    def derive(columns: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        seen.append(columns["rank"].astype(int).tolist())
        return {c.name: np.zeros(len(columns["rank"])) for c in steps.derived}

    writer = TableWriter(steps, None, derive)
    for step in range(10):
        for rank in range(3):
            row = {c.name: 0.0 if c.dtype == "float64" else 0 for c in steps.columns}
            row |= {"rank": rank, "first_step": step}
            writer.emit(tuple(row.values()))
    writer.pump()
    writer.pump(last=True)
    assert sum(map(len, seen)) == 30
    assert len(seen) > 1
    for ranks in seen:
        assert ranks == [0, 1, 2] * (len(ranks) // 3)


def test_every_table_is_written_even_when_it_is_empty(tmp_path: Path) -> None:
    Log(tmp_path, rl=True, speculation=True).close()
    assert sorted(p.stem for p in tmp_path.glob("*.parquet")) == sorted(TABLES)


def test_a_run_without_a_loop_writes_no_tables_of_loops(tmp_path: Path) -> None:
    Log(tmp_path).close()
    written = {p.stem for p in tmp_path.glob("*.parquet")}
    assert written == set(TABLES) - {t.name for t in RL_TABLES} - {"bursts"}


@pytest.mark.parametrize("name", TABLES)
def test_every_column_says_what_it_means(name: str) -> None:
    table = TABLES[name]
    for column in table.all_columns:
        assert column.meaning
        assert (column.dtype == "code") == bool(column.labels)
    assert len({c.name for c in table.all_columns}) == len(table.all_columns)
