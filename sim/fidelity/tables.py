"""Tables of measurements from CSV files; every refusal is one sentence with a way out."""

from __future__ import annotations

import csv
import gzip
import warnings
import zlib
from collections.abc import Iterable
from difflib import get_close_matches
from pathlib import Path
from typing import TextIO

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from sim.errors import ScenarioError, suggest

LISTED = 6
"""Names of a folder that are told instead of one that is not there."""
MOST = 2.0**48
"""No whole number of a table is larger, as in `sim.units`."""


def read_table(path: Path, text: Iterable[str] = ()) -> pd.DataFrame:
    """A CSV file, gzipped or not; `text` names columns that are kept as text, empty where blank.

    Raises ScenarioError when it is absent, torn, empty or no table.
    """
    if not path.is_file():
        raise ScenarioError(f"there is no file '{path}'{near(path)}")
    try:
        with warnings.catch_warnings():  # the first row is longer than the header
            warnings.simplefilter("error", pd.errors.ParserWarning)
            table = pd.read_csv(
                path, dtype=dict.fromkeys(text, "str"), skipinitialspace=True, index_col=False
            )
    except (EOFError, zlib.error, gzip.BadGzipFile):
        raise ScenarioError(f"'{path}' is torn or not gzip; fetch it again") from None
    except UnicodeDecodeError:
        raise ScenarioError(f"'{path}' is not text in UTF-8; is it a CSV table?") from None
    except (pd.errors.ParserError, pd.errors.EmptyDataError, pd.errors.ParserWarning) as problem:
        why = _longer(path) or str(problem).strip()
        raise ScenarioError(f"'{path}' is not a CSV table: {why}") from None
    if not len(table):
        raise ScenarioError(f"'{path}' has no rows below its header; give it at least one")
    for column in text:
        if column in table:
            table[column] = table[column].fillna("").str.strip()
    return table


def _longer(path: Path) -> str:
    """The first line with more fields than the header, in words; empty if there is none."""
    with _opened(path) as file:
        rows = csv.reader(file)
        header = next(rows, [])
        for row in rows:
            if len(row) > len(header):
                return (
                    f"line {rows.line_num} has {len(row)} fields and the header {len(header)}; "
                    "mend or drop the line"
                )
    return ""


def _opened(path: Path) -> TextIO:
    if path.suffix == ".gz":
        return gzip.open(path, "rt", encoding="utf-8", newline="")
    return path.open(encoding="utf-8", newline="")


def near(path: Path) -> str:
    """What there is where the path ends: a near name, or the few that are there."""
    folder = next((p for p in path.parents if p.is_dir()), path.parent)
    try:
        there = sorted(p.name for p in folder.iterdir() if not p.name.startswith("."))
    except OSError:
        there = []
    missing, *rest = path.relative_to(folder).parts or (path.name,)
    close = get_close_matches(missing, there, n=1)
    if close:
        return f"; did you mean '{folder.joinpath(close[0], *rest)}'?"
    if rest:
        return f"; there is no folder '{folder / missing}' either"
    if 0 < len(there) <= LISTED:
        return f"; '{folder}' has {', '.join(there)}"
    return "; mend the path"


def require(path: Path, table: pd.DataFrame, columns: Iterable[str], what: str) -> None:
    """ScenarioError naming the columns that a table of `what` must have and this one has not."""
    lost = [c for c in columns if c not in table.columns]
    if lost:
        hints = suggest(lost[0], [str(c) for c in table.columns if c not in tuple(columns)])
        raise ScenarioError(
            f"'{path}' has no column {', '.join(repr(c) for c in lost)}, which {what} needs{hints}"
        )


def require_numbers(path: Path, table: pd.DataFrame, columns: Iterable[str]) -> None:
    """ScenarioError naming the first cell of these columns that is not a finite number."""
    for column in columns:
        _refuse(path, table, column, ~np.isfinite(_numbers(table, column)), "a number")


def require_whole(
    path: Path, table: pd.DataFrame, columns: Iterable[str], least: int = 1, blank: bool = False
) -> None:
    """The same for cells that are no whole number of at least `least`, or, if so, `blank`."""
    for column in columns:
        cells = _numbers(table, column)
        good = (cells >= least) & (cells <= MOST) & (cells == np.round(cells))
        if blank:
            good |= table[column].isna().to_numpy() | (table[column] == "").to_numpy()
        _refuse(path, table, column, ~good, f"a whole number from {least} on")


def require_times(path: Path, table: pd.DataFrame, columns: Iterable[str]) -> None:
    """The same for measured times that are not more than 0."""
    require_numbers(path, table, columns)
    for column in columns:
        _refuse(path, table, column, _numbers(table, column) <= 0, "a time of more than 0")


def _numbers(table: pd.DataFrame, column: str) -> NDArray[np.float64]:
    return pd.to_numeric(table[column], errors="coerce").to_numpy(dtype=float)


def _refuse(
    path: Path, table: pd.DataFrame, column: str, bad: NDArray[np.bool_], wanted: str
) -> None:
    """ScenarioError naming the first bad cell, if there is one."""
    if not bad.any():
        return
    at = int(np.flatnonzero(bad)[0])
    cell = table[column].iloc[at]
    blank = pd.isna(cell) or cell == ""
    given = "an empty cell" if blank else str(cell) if isinstance(cell, np.generic) else repr(cell)
    raise ScenarioError(
        f"'{path}', line {at + 2}, column {column}: {given} is not {wanted}; mend or drop the line"
    )


def spread(count: int, limit: int | None) -> list[int]:
    """Positions of at most `limit` of `count` rows, evenly spaced, the same every time."""
    if limit is None or limit >= count:
        return list(range(count))
    return sorted({round(x) for x in np.linspace(0, count - 1, limit)})
