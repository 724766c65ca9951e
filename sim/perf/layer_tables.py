"""Somebody's measured layer times: a folder of tables in LLMServingSim's layout, times in µs.

`dense_tpN.csv` has (tp, layer, tokens, time_us) per kind of layer, `per_sequence_tpN.csv` (tp,
layer, sequences, time_us) of the language-model head and the sampler, `attention_tpN.csv` (tp,
prefill_chunk, kv_prefill, n_decode, kv_decode, time_us): one layer's attention for a chunk of
`prefill_chunk` tokens behind `kv_prefill` cached ones, together with `n_decode` sequences that
attend to `kv_decode` tokens each. N is the tensor parallelism; each may be gzipped.

Source of the layout: LLMServingSim (casys-kaist, MIT), docs/profiler/output-bundle.
"""

from __future__ import annotations

import csv
import gzip
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sim.errors import ScenarioError

Array = NDArray[np.float64]

MICROSECOND = 1e-6
TILE_ROWS = 16
"""Fewest rows that matrix units compute at once (m16n8k16, PTX ISA, warp-level matrix
instructions): rows up to the next multiple cost the same. The tables agree: times jump between a
multiple of 128 and the next point, 16 rows on."""
DENSE, HEADS, ATTENTION = "dense", "per_sequence", "attention"
COLUMNS = {
    DENSE: ("layer", "tokens", "time_us"),
    HEADS: ("layer", "sequences", "time_us"),
    ATTENTION: ("prefill_chunk", "kv_prefill", "n_decode", "kv_decode", "time_us"),
}


@dataclass(frozen=True, slots=True)
class Curve:
    """Seconds at whole numbers of tokens or sequences, rising."""

    at: Array
    seconds: Array

    def upto(self, most: int, tiled: bool = False) -> Array:
        """At 0 … `most`; 0 at 0. Between points straight lines (see `continued`), or, for products
        whose rows are computed in tiles, the next point, where that is within a tile."""
        out = continued(self.at, self.seconds, most)
        if tiled:
            whole = np.arange(most + 1, dtype=np.float64)
            after = np.searchsorted(self.at, np.minimum(whole, self.at[-1]))
            near = self.at[after] - whole
            out = np.where((near > 0) & (near < TILE_ROWS), self.seconds[after], out)
        out[0] = 0.0
        return out


@dataclass(frozen=True, slots=True)
class AttentionRows:
    """The rows of the attention table as columns of equal length."""

    chunk: Array
    """Prompt tokens computed."""
    cached: Array
    """Tokens before them."""
    decodes: Array
    context: Array
    """Tokens that each decode attends to."""
    seconds: Array

    def where(self, mask: NDArray[np.bool_]) -> AttentionRows:
        """Some of the rows."""
        columns = (self.chunk, self.cached, self.decodes, self.context, self.seconds)
        return AttentionRows(*(c[mask] for c in columns))


@dataclass(frozen=True, slots=True)
class LayerTables:
    """The tables of one model on one GPU at one tensor parallelism."""

    folder: Path
    tp: int
    dense: dict[str, Curve]
    """By kind of layer."""
    heads: dict[str, Curve]
    """By kind: the head, the sampler."""
    attention: AttentionRows


def continued(at: Array, values: Array, most: int) -> Array:
    """`values` at the points `at` as a table over 0 … `most`: straight lines between the points,
    the first value before them, and behind them the line through the last point and the one
    nearest to half of it (neighbours are too close: their difference is noise)."""
    whole = np.arange(most + 1, dtype=np.float64)
    out = np.interp(whole, at, values)
    if len(at) > 1:
        half = int(np.argmin(abs(at[:-1] - at[-1] / 2)))
        slope = (values[-1] - values[half]) / (at[-1] - at[half])
        beyond = values[-1] + (whole - at[-1]) * slope
        out = np.where(whole > at[-1], np.maximum(beyond, 0.0), out)
    return np.asarray(out)


def read_layer_tables(folder: str, tp: int) -> LayerTables:
    """The tables of a folder; ScenarioError when some are missing or are no such tables."""
    place = Path(folder).expanduser()
    if not place.is_dir():
        raise ScenarioError(f"timer.measured.tables: '{folder}' is no folder of layer tables")
    paths = [_path(place, sort, tp) for sort in (DENSE, HEADS, ATTENTION)]
    return _read(place, tp, *((p, p.stat().st_mtime_ns) for p in paths))


def _path(folder: Path, sort: str, tp: int) -> Path:
    for name in (f"{sort}_tp{tp}.csv", f"{sort}_tp{tp}.csv.gz"):
        if (folder / name).is_file():
            return folder / name
    found = {re.fullmatch(rf"{sort}_tp(\d+)\.csv(\.gz)?", p.name) for p in folder.iterdir()}
    known = sorted(int(m[1]) for m in found if m)
    there = f"those for tp = {', '.join(map(str, known))}" if known else "none of them at all"
    raise ScenarioError(
        f"timer.measured.tables: '{folder}' has no {sort}_tp{tp}.csv for a layout with tp = {tp}, "
        f"but {there}; choose such a layout, or measure"
    )


@cache
def _read(folder: Path, tp: int, *files: tuple[Path, int]) -> LayerTables:
    """A folder is read once, and again when a file was written again."""
    dense, heads, attention = (path for path, _ in files)
    columns = _columns(attention, COLUMNS[ATTENTION])
    chunk, cached, decodes, context, micro = (np.array(c, dtype=np.float64) for c in columns)
    for what, alone in (("decodes", chunk == 0), ("a prompt", decodes == 0)):
        if not alone.any():
            raise ScenarioError(
                f"timer.measured.tables: '{attention}' has no row of {what} alone; measure some"
            )
    return LayerTables(
        folder=folder,
        tp=tp,
        dense=_curves(dense, COLUMNS[DENSE]),
        heads=_curves(heads, COLUMNS[HEADS]),
        attention=AttentionRows(chunk, cached, decodes, context, micro * MICROSECOND),
    )


def _curves(path: Path, names: Sequence[str]) -> dict[str, Curve]:
    """One curve per kind; repeated points are averaged."""
    kinds, at, micro = _columns(path, names)
    out = {}
    for kind in dict.fromkeys(kinds):
        mine = [i for i, k in enumerate(kinds) if k == kind]
        points, where = np.unique([float(at[i]) for i in mine], return_inverse=True)
        sums = np.bincount(where, weights=[float(micro[i]) for i in mine])
        out[str(kind)] = Curve(points, sums / np.bincount(where) * MICROSECOND)
    return out


def _columns(path: Path, names: Sequence[str]) -> list[list[str]]:
    """The named columns of a CSV file; those of numbers can be read as such."""
    opened = gzip.open if path.suffix == ".gz" else open
    try:
        with opened(path, "rt", encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
        columns = [[row[name] for row in rows] for name in names]
        for name, column in zip(names, columns, strict=True):
            if name != "layer" and not all(0 <= float(cell) < np.inf for cell in column):
                raise ValueError(f"column {name} has a number below 0 or no number")
        if not rows:
            raise ValueError("no rows")
    except (OSError, EOFError, KeyError, TypeError, ValueError) as problem:
        raise ScenarioError(
            f"timer.measured.tables: '{path}' is no table with columns {', '.join(names)} "
            f"({' '.join(str(problem).split())})"
        ) from None
    return columns
