"""A run on disk: a folder of Parquet tables and small JSON files, written once, read many times.

It holds `scenario.yaml` (resolved), `run.json`, `topology.json`, `assumptions.json`,
`workload.json`, one `TABLE.parquet` per table of `record.tables`, and what was measured of it:
`summary.json`, `attribution.parquet`, `report.html`.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from sim.errors import ScenarioError, suggest
from sim.record.log import Columns, schema
from sim.record.tables import TABLES

DOCUMENTS = (
    "run.json",
    "scenario.yaml",
    "topology.json",
    "assumptions.json",
    "workload.json",
    "summary.json",
    "report.html",
    "trace.json.gz",
    "split.json",
)
"""Files of a run that are not tables."""

DERIVED_TABLES = ("attribution",)
"""Tables that are measured, not logged."""


@dataclass(frozen=True, slots=True)
class RunFolder:
    """The folder of one run. Nothing is kept in memory: every call reads what it is asked for."""

    path: Path

    @classmethod
    def create(cls, path: Path | str) -> RunFolder:
        """An empty run folder at `path`; an earlier run there is replaced.

        Raises ScenarioError when the folder cannot be written, or holds something else than a run.
        """
        folder = Path(path)
        try:
            folder.mkdir(parents=True, exist_ok=True)
            _clear(folder)
            probe = folder / "run.json"
            probe.write_text("{}\n", encoding="utf-8")
            probe.unlink()
        except OSError as error:
            raise ScenarioError(
                f"the run folder '{folder}' cannot be written ({error.strerror}); name another one"
            ) from error
        return cls(folder)

    @classmethod
    def open(cls, path: Path | str) -> RunFolder:
        """The run at `path`. Raises ScenarioError when there is none."""
        folder = Path(path)
        if not (folder / "run.json").is_file():
            raise ScenarioError(
                f"'{folder}' is not a run folder (it has no run.json); "
                "name a folder that `sim run` has written"
            )
        return cls(folder)

    def has(self, name: str) -> bool:
        """Whether the file `name` is there."""
        return (self.path / name).is_file()

    def write_text(self, name: str, text: str) -> Path:
        """Write a file of the folder; returns its path."""
        path = self.path / name
        try:
            path.write_text(text, encoding="utf-8", newline="\n")
        except OSError as error:
            raise ScenarioError(f"'{path}' cannot be written ({error.strerror})") from error
        return path

    def read_text(self, name: str) -> str:
        """A file of the folder. Raises ScenarioError when it is missing."""
        if not self.has(name):
            raise ScenarioError(f"the run folder '{self.path}' has no {name}")
        return (self.path / name).read_text(encoding="utf-8")

    def write_json(self, name: str, value: object) -> Path:
        """Write `value` as JSON; the same value gives the same bytes. NaN is refused."""
        return self.write_text(name, json.dumps(value, indent=2, allow_nan=False) + "\n")

    def read_json(self, name: str) -> Any:
        """What `write_json` wrote. Raises ScenarioError when it is missing or no JSON."""
        try:
            return json.loads(self.read_text(name))
        except json.JSONDecodeError as error:
            raise ScenarioError(f"'{self.path / name}' is not JSON: {error}") from error

    @property
    def facts(self) -> dict[str, Any]:
        """`run.json`: name, seed, versions, partial, until_s, simulated_s, fabric, engines, …"""
        facts: dict[str, Any] = self.read_json("run.json")
        return facts

    def rows(self, table: str) -> int:
        """Number of rows of a table; 0 when it was never written."""
        path = self.path / f"{table}.parquet"
        return int(pq.read_metadata(path).num_rows) if path.is_file() else 0

    def table(self, table: str, columns: list[str] | None = None) -> pa.Table:
        """A table, or some columns of it, as Arrow; one that was never written is empty."""
        path = self.path / f"{table}.parquet"
        if path.is_file():
            with pq.ParquetFile(path) as file:
                return file.read(columns=columns)
        if table not in TABLES:
            known = suggest(table, (*TABLES, *DERIVED_TABLES))
            raise ScenarioError(f"the run folder '{self.path}' has no table '{table}'{known}")
        empty = schema(TABLES[table]).empty_table()
        return empty if columns is None else empty.select(columns)

    def columns(self, table: str, *names: str) -> Columns:
        """Columns of a table as numpy arrays of one length; all of them when none is named.

        Codes come back as int64 indices into the labels of `record.tables`.
        """
        path = self.path / f"{table}.parquet"
        if not path.is_file():
            empty = self.table(table, list(names) or None)
            return {name: _array(table, name, empty.column(name)) for name in empty.column_names}
        found = {}
        with pq.ParquetFile(path) as file:  # one by one: half the memory of all at once
            for name in names or file.schema_arrow.names:
                found[name] = _array(table, name, file.read(columns=[name]).column(0))
        pa.default_memory_pool().release_unused()
        return found

    def has_column(self, table: str, name: str) -> bool:
        """Whether a table was written with a column."""
        path = self.path / f"{table}.parquet"
        return path.is_file() and name in pq.read_schema(path).names

    def column(self, table: str, name: str) -> NDArray[Any]:
        """One column as a numpy array."""
        return self.columns(table, name)[name]

    def write_table(self, name: str, table: pa.Table) -> Path:
        """Write a measured table."""
        path = self.path / f"{name}.parquet"
        pq.write_table(table, path, compression="zstd", row_group_size=1 << 18)
        return path


def _clear(folder: Path) -> None:
    """Remove the files of an earlier run; refuse a folder that holds something else."""
    known = {*DOCUMENTS, *(f"{t}.parquet" for t in (*TABLES, *DERIVED_TABLES))}
    inside = sorted(p.name for p in folder.iterdir())
    if inside and "run.json" not in inside:
        raise ScenarioError(
            f"'{folder}' holds files that are no run ('{inside[0]}'); name an empty folder"
        )
    for name in inside:
        if name in known:
            (folder / name).unlink()


def _array(table: str, name: str, column: pa.ChunkedArray) -> NDArray[Any]:
    """A column as numpy; text codes become indices into the contract's labels."""
    if pa.types.is_dictionary(column.type):
        labels = next(c.labels for c in TABLES[table].all_columns if c.name == name)
        parts = [_codes(chunk, labels) for chunk in column.chunks]
        return np.concatenate(parts) if parts else np.zeros(0, dtype=np.int64)
    return numbers(column)


def numbers(column: pa.ChunkedArray) -> NDArray[Any]:
    """A column of numbers without nulls as numpy (Arrow's own `to_numpy` would load pandas)."""
    chunks = [_numpy(chunk) for chunk in column.chunks]
    empty = np.zeros(0, dtype=column.type.to_pandas_dtype())
    return np.concatenate(chunks) if len(chunks) > 1 else chunks[0] if chunks else empty


def _codes(chunk: pa.DictionaryArray, labels: tuple[str, ...]) -> NDArray[np.int64]:
    """Indices into `labels`; a Parquet reader may have ordered the dictionary otherwise."""
    position = {label: i for i, label in enumerate(labels)}
    translate = np.array([position[v] for v in chunk.dictionary.to_pylist()], dtype=np.int64)
    indices = _numpy(chunk.indices)
    return translate[indices] if len(indices) else np.zeros(0, dtype=np.int64)


def _numpy(array: pa.Array) -> NDArray[Any]:
    """The numbers of one chunk, not copied."""
    return np.asarray(np.from_dlpack(array))
