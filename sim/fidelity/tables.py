"""Tables of measurements from CSV files; every refusal is one sentence with a way out."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pandas as pd

from sim.errors import ScenarioError, suggest


def read_table(path: Path, text: Iterable[str] = ()) -> pd.DataFrame:
    """A CSV file, gzipped or not; `text` names columns that are kept as text, empty where blank.

    Raises ScenarioError when it is absent, torn, empty or no table.
    """
    if not path.is_file():
        raise ScenarioError(f"there is no file '{path}'{near(path)}")
    try:
        table = pd.read_csv(path, dtype=dict.fromkeys(text, "str"), skipinitialspace=True)
    except (EOFError, zlib.error, gzip.BadGzipFile):
        raise ScenarioError(f"'{path}' is torn or not gzip; fetch it again") from None
    except UnicodeDecodeError:
        raise ScenarioError(f"'{path}' is not text in UTF-8; is it a CSV table?") from None
    except (pd.errors.ParserError, pd.errors.EmptyDataError) as problem:
        raise ScenarioError(f"'{path}' is not a CSV table: {str(problem).strip()}") from None
    if not len(table):
        raise ScenarioError(f"'{path}' has no rows below its header; give it at least one")
    for column in text:
        if column in table:
            table[column] = table[column].fillna("").str.strip()
    return table


def near(path: Path) -> str:
    """What else there is where a file was looked for."""
    if not path.parent.is_dir():
        return f"; there is no folder '{path.parent}' either"
    return suggest(path.name, [p.name for p in path.parent.iterdir()][:200]) or "; mend the path"


def require(path: Path, table: pd.DataFrame, columns: Iterable[str], what: str) -> None:
    """ScenarioError naming the columns that a table of `what` must have and this one has not."""
    lost = [c for c in columns if c not in table.columns]
    if lost:
        hints = suggest(lost[0], [str(c) for c in table.columns if c not in tuple(columns)])
        raise ScenarioError(
            f"'{path}' has no column {', '.join(repr(c) for c in lost)}, which {what} needs{hints}"
        )


def require_numbers(path: Path, table: pd.DataFrame, columns: Iterable[str]) -> None:
    """ScenarioError naming the first cell of these columns that is not a number."""
    for column in columns:
        numbers = pd.to_numeric(table[column], errors="coerce")
        bad = np.flatnonzero(~np.isfinite(numbers.to_numpy(dtype=float)))
        if len(bad):
            at = int(bad[0])
            raise ScenarioError(
                f"'{path}', line {at + 2}, column {column}: {table[column].iloc[at]!r} is not a "
                "number; mend or drop the line"
            )


def spread(count: int, limit: int | None) -> list[int]:
    """Positions of at most `limit` of `count` rows, evenly spaced, the same every time."""
    if limit is None or limit >= count:
        return list(range(count))
    return sorted({round(x) for x in np.linspace(0, count - 1, limit)})
