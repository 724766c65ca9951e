"""Lines of text out of a file that may be gzipped, damaged or not text at all.

Files are read in pieces of some ten thousand lines, so that a trace of millions of rows never
stands in memory as text. Every refusal names the line.
"""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

from sim.errors import ScenarioError

PIECE_LINES = 32_768
GZIP_MAGIC = b"\x1f\x8b"


def open_text(path: Path) -> TextIO:
    """The file as UTF-8 text, unpacked when it begins with gzip's magic bytes."""
    with path.open("rb") as raw:
        packed = raw.read(2) == GZIP_MAGIC
    if packed:
        return gzip.open(path, "rt", encoding="utf-8-sig")
    return path.open(encoding="utf-8-sig")


def pieces(path: Path, piece_lines: int = PIECE_LINES) -> Iterator[tuple[int, list[str]]]:
    """(number of the first line, lines) of successive pieces; blank lines may only end the file.

    Raises ScenarioError when the file cannot be opened, is torn, or is not text.
    """
    first, blank = 1, 0
    try:
        text = open_text(path)
    except OSError as error:
        raise ScenarioError(f"{path} cannot be read: {error.strerror}; name a file") from error
    with text:
        while lines := _some_lines(path, text, first, piece_lines):
            count = len(lines)
            while lines and not lines[-1].strip():
                lines.pop()
            if lines and blank:
                raise ScenarioError(f"{path}, line {blank}: the line is blank; delete it")
            if len(lines) < count:
                blank = blank or first + len(lines)
            if lines:
                yield first, lines
            first += count


def _some_lines(path: Path, text: TextIO, first: int, piece_lines: int) -> list[str]:
    lines: list[str] = []
    try:
        for line in text:
            lines.append(line)
            if len(lines) == piece_lines:
                break
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        line_number = first + len(lines)
        raise ScenarioError(
            f"{path}, line {line_number}: the gzip file is torn or damaged here, the rest of its "
            "data is missing; fetch it again"
        ) from error
    except UnicodeDecodeError as error:
        line_number = first + len(lines)
        raise ScenarioError(
            f"{path}: near line {line_number} there are bytes that are not UTF-8 text; "
            "is it a trace?"
        ) from error
    return lines


def head(path: Path) -> str:
    """The first lines of a file, to tell its format by; empty for an empty file."""
    for _, lines in pieces(path, 8):
        return "".join(lines)
    return ""
