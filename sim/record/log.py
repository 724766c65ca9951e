"""The append-only log: rows in, Parquet out, a group at a time while the run goes on.

`log.steps(row)` appends a row, a tuple in the order of the table's columns. Groups are cut at fixed
row numbers, never at moments, so that the same rows give the same bytes. A thread works out derived
columns, encodes and writes.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from sim.record.scribe import Scribe
from sim.record.settings import Record
from sim.record.tables import (
    BURSTS,
    RL_TABLES,
    SPECULATIVE_STEPS,
    STEPS,
    TABLES,
    Column,
    Table,
)

Emit: TypeAlias = Callable[[Iterable[float]], None]
Columns: TypeAlias = dict[str, NDArray[Any]]
Derive: TypeAlias = Callable[[Columns], Columns]

GROUP_ROWS = 65_536
"""Rows per Parquet row group."""


def arrow_type(column: Column) -> pa.DataType:
    """The Parquet type of a column; codes become dictionary-encoded text."""
    if column.dtype == "code":
        return pa.dictionary(pa.int8(), pa.string())
    return pa.int64() if column.dtype == "int64" else pa.float64()


def schema(table: Table) -> pa.Schema:
    """Arrow schema of a table, each field's meaning in its metadata."""
    return pa.schema(
        [
            pa.field(c.name, arrow_type(c), metadata={"meaning": c.meaning})
            for c in table.all_columns
        ]
    )


def to_arrow(table: Table, columns: Columns) -> pa.Table:
    """The columns as an Arrow table with the contract's types."""
    arrays = []
    for c in table.all_columns:
        values = columns[c.name]
        if c.dtype == "code":
            codes = arrow_array(values.astype(np.int8))
            arrays.append(pa.DictionaryArray.from_arrays(codes, _labels(c.labels)))
        elif c.dtype == "int64":
            arrays.append(arrow_array(values.astype(np.int64)))
        else:
            arrays.append(arrow_array(values.astype(np.float64)))
    return pa.Table.from_arrays(arrays, schema=schema(table))


def arrow_array(values: NDArray[Any]) -> pa.Array:
    """A numpy array of numbers as Arrow, from its buffer (`pa.array` would import pandas to look
    at it, a fifth of a second)."""
    kind = pa.from_numpy_dtype(values.dtype)
    return pa.Array.from_buffers(kind, len(values), [None, pa.py_buffer(values.tobytes())])


def _labels(labels: tuple[str, ...]) -> pa.Array:
    """Texts as Arrow, likewise."""
    encoded = [label.encode() for label in labels]
    ends = np.cumsum([0, *map(len, encoded)], dtype=np.int32)
    buffers = [pa.py_buffer(ends.tobytes()), pa.py_buffer(b"".join(encoded))]
    return pa.StringArray.from_buffers(len(labels), *buffers)


def _writer(table: Table, path: Path) -> pq.ParquetWriter:
    """Byte-split floats and delta-coded integers: half the time and a tenth less space than the
    defaults on step tables."""
    kinds = {"float64": "BYTE_STREAM_SPLIT", "int64": "DELTA_BINARY_PACKED"}
    return pq.ParquetWriter(
        path,
        schema(table),
        compression="zstd",
        use_dictionary=[c.name for c in table.all_columns if c.dtype == "code"],
        column_encoding={c.name: kinds[c.dtype] for c in table.all_columns if c.dtype in kinds},
    )


def row_type(table: Table) -> np.dtype[Any]:
    """A logged row as it lies in memory: 64-bit integers (codes too) and floats, no padding."""
    kinds = {"float64": "<f8"}
    return np.dtype([(c.name, kinds.get(c.dtype, "<i8")) for c in table.columns])


def _emitter(table: Table, rows: bytearray) -> Emit:
    """Appends a row, given as a tuple in the order of the columns: packed at once, a fifth of the
    time of an `array`."""
    letters = "".join("d" if c.dtype == "float64" else "q" for c in table.columns)
    pack, extend = struct.Struct("<" + letters).pack, rows.extend

    def emit(row: Iterable[float]) -> None:
        extend(pack(*row))

    return emit


class TableWriter:
    """One table on its way to a Parquet file."""

    def __init__(
        self,
        table: Table,
        path: Path | None,
        derive: Derive | None = None,
        scribe: Scribe | None = None,
    ) -> None:
        self.table = table
        self.derive = derive
        self._scribe = scribe or Scribe()
        self._rows = bytearray()
        self.emit: Emit = _emitter(table, self._rows)
        self._type = row_type(table)
        self._path = path
        self._writer: pq.ParquetWriter | None = None
        self._kept: list[pa.Table] = []

    def pump(self, *, last: bool = False) -> None:
        """Write a full group, if there is one (and all that is left, when it is the last call)."""
        size = self._type.itemsize
        while len(self._rows) >= GROUP_ROWS * size or (last and self._rows):
            rows = np.frombuffer(bytes(self._rows), dtype=self._type)
            block = rows[: self._cut(rows)]
            del self._rows[: len(block) * size]
            self.write({c.name: block[c.name] for c in self.table.columns})
            if not last:
                break
        if last and self._path is not None:
            self._scribe.hand_over(partial(self._write, self._path, None))

    def _cut(self, rows: NDArray[Any]) -> int:
        """First row number, from a full group on, that does not split the ranks of one step."""
        take = min(GROUP_ROWS, len(rows))
        while self.table.name == STEPS.name and take < len(rows) and rows["rank"][take] != 0:
            take += 1
        return take

    def write(self, columns: Columns) -> None:
        """Append a group given as whole columns, which must not change any more."""
        if self._path is None:
            self._kept.append(self._group(columns))
        else:
            self._scribe.hand_over(partial(self._write, self._path, columns))

    def _group(self, columns: Columns) -> pa.Table:
        if self.derive is not None:
            columns = columns | self.derive(columns)
        return to_arrow(self.table, columns)

    def _write(self, path: Path, columns: Columns | None) -> None:
        """Write a group; None closes the file."""
        if self._writer is None:
            self._writer = _writer(self.table, path)
        if columns is None:
            self._writer.close()
            self._writer = None
        else:
            group = self._group(columns)
            self._writer.write_table(group, row_group_size=group.num_rows)

    def kept(self) -> pa.Table:
        """What was written, when there is no path to write to."""
        return pa.concat_tables(self._kept) if self._kept else schema(self.table).empty_table()


class Log:
    """All tables of one run. With `folder=None` they stay in memory."""

    def __init__(
        self,
        folder: Path | None,
        derive: dict[str, Derive] | None = None,
        *,
        rl: bool = False,
        speculation: bool = False,
        record: Record | None = None,
    ) -> None:
        """`derive` makes the derived columns of a table; `rl` and `speculation` ask for the tables
        and columns of loops and of verify steps too."""
        self.keeps_steps = record is None or record.clock == "steps"
        """Whether the end of every step is wanted."""
        derive = derive or {}
        unused = (*(() if rl else RL_TABLES), *(() if speculation else (BURSTS,)))
        tables = TABLES | ({"steps": SPECULATIVE_STEPS} if speculation else {})
        self._scribe = scribe = Scribe()
        self.writers = {
            name: TableWriter(
                table, folder / f"{name}.parquet" if folder else None, derive.get(name), scribe
            )
            for name, table in tables.items()
            if table not in unused
        }
        self.requests = self.writers["requests"].emit
        self.intervals = self.writers["intervals"].emit
        self.chunks = self.writers["chunks"].emit
        self.steps = self.writers["steps"].emit
        self.transfers = self.writers["transfers"].emit
        self.links = self.writers["links"].emit
        self.engines = self.writers["engines"].emit
        if rl:
            self.rl_steps = self.writers["rl_steps"].emit
            self.rl_phases = self.writers["rl_phases"].emit
            self.samples = self.writers["samples"].emit

    def pump(self) -> None:
        """Write what has filled a group."""
        for writer in self.writers.values():
            writer.pump()

    def close(self) -> None:
        """Write the rest and close the files."""
        for writer in self.writers.values():
            writer.pump(last=True)
        self._scribe.finish()

    def abandon(self) -> None:
        """The run has failed: write no more."""
        self._scribe.abandon()
