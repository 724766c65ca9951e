"""CSV columns and whole numbers out of lines; every refusal names line, column and value."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np

from sim.errors import BrokenInvariant, ScenarioError
from sim.workload.origin import Origin
from sim.workload.text import pieces
from sim.workload.trace import Floats, Ints

LONGEST_CELL = 2**30


def cells_of(line: str) -> list[str]:
    """The cells of one CSV line."""
    return next(csv.reader([line], skipinitialspace=True), [])


def csv_pieces(
    path: Path, check: Callable[[Path, list[str]], None] | None = None
) -> Iterator[tuple[Origin, dict[str, tuple[str, ...]]]]:
    """The columns of successive pieces of a CSV file with a header, by the header's names.

    `check` may refuse the header, before any line is looked at. Raises ScenarioError
    when a line has more or fewer cells than the header.
    """
    header: list[str] = []
    for first, lines in pieces(path):
        if first == 1:
            header = cells_of(lines[0])
            if len(set(header)) < len(header):
                raise ScenarioError(f"{path}, line 1: two columns have the same name; rename one")
            if check is not None:
                check(path, header)
            lines, first = lines[1:], 2
        if lines:
            origin = Origin(str(path), first)
            yield origin, dict(zip(header, _columns(origin, header, lines), strict=True))


def _columns(origin: Origin, header: list[str], lines: list[str]) -> Iterator[tuple[str, ...]]:
    rows: list[list[str]] = []
    csv.field_size_limit(LONGEST_CELL)  # of the process; the default refuses long lists of ids
    try:
        rows.extend(csv.reader(lines, skipinitialspace=True, strict=True))
    except csv.Error as error:
        raise origin.refuse_line(len(rows), f"this is not CSV ({error}); mend the line") from error
    width = len(header)
    row = next((i for i, cells in enumerate(rows) if len(cells) != width), None)
    if row is not None:
        count = len(rows[row])
        if count > width:
            complaint = f"there are {count} cells for {width} columns; mend the line"
        else:
            lost = ", ".join(header[count:])
            complaint = (
                f"there are {count} of {width} cells, {lost} is missing; "
                "is the file complete? mend or drop the line"
            )
        raise origin.refuse_line(row, complaint)
    return zip(*rows, strict=True)


def whole_numbers(cells: Sequence[object], origin: Origin, column: str) -> Ints:
    """Text cells or JSON values as integers; ScenarioError names the first that is none."""
    try:
        if all(type(c) is int or (type(c) is str and c.isdigit()) for c in cells):
            return np.array(list(map(int, cells)), dtype=np.int64)  # type: ignore[arg-type]
    except (ValueError, OverflowError):
        pass  # the search below names the value
    for row, cell in enumerate(cells):
        if not is_whole(cell):
            raise origin.refuse(row, column, shown(cell), "is not a whole number; mend the line")
    raise BrokenInvariant(f"{origin.file}: {column} was refused without a bad value")


def is_whole(cell: object) -> bool:
    """Whether a text cell or JSON value is an integer that fits into 64 bits."""
    if isinstance(cell, bool) or not isinstance(cell, int | str):
        return False
    if isinstance(cell, str) and not (cell.isascii() and cell.isdigit() and len(cell) < 20):
        return False
    return -(2**63) <= int(cell) < 2**63


def numbers(cells: Sequence[object], origin: Origin, column: str) -> Floats:
    """Text cells or JSON numbers as floats; ScenarioError names the first that is none."""
    try:
        if all(type(c) in (str, int, float) for c in cells):
            return np.array(list(map(float, cells)))  # type: ignore[arg-type]
    except (ValueError, OverflowError):
        pass  # the search below names the value
    for row, cell in enumerate(cells):
        if not _is_number(cell):
            raise origin.refuse(row, column, shown(cell), "is not a number; mend the line")
    raise BrokenInvariant(f"{origin.file}: {column} was refused without a bad value")


def _is_number(cell: object) -> bool:
    if isinstance(cell, bool) or not isinstance(cell, int | float | str):
        return False
    try:
        float(cell)
    except (ValueError, OverflowError):
        return False
    return True


def shown(cell: object) -> str:
    """A value as it may stand in a sentence: short, and visible when empty."""
    text = repr(cell) if isinstance(cell, str) else str(cell)
    return text if len(text) <= 40 else f"{text[:37]}..."


def require_columns(path: Path, found: Sequence[str], needed: Sequence[str],
                    optional: Sequence[str] = (), reader: str = "") -> None:  # fmt: skip
    """ScenarioError, naming them, when a header lacks columns or has some that mean nothing."""
    lost = [c for c in needed if c not in found]
    strange = [c for c in found if c not in needed and c not in optional]
    if not lost and not strange:
        return
    known = ", ".join(needed) + "".join(f" and optionally {c}" for c in optional)
    what = [f"{', '.join(lost)} is missing"] if lost else []
    what += [f"{', '.join(strange)} is not a column of this format"] if strange else []
    raise ScenarioError(
        f"{path}, line 1: {' and '.join(what)}; the reader '{reader}' takes {known}"
    )
