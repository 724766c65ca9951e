"""This project's own format: CSV with one row per request and columns named as in `Trace`.

    arrival_s,prompt_tokens,output_tokens[,max_tokens][,block_tokens,block_ids]

`arrival_s` seconds since the start of the run, never falling; `prompt_tokens` and `output_tokens`
from 1 on; `max_tokens` what the client declared as the longest answer, empty where it did not;
`block_tokens` the size of a prefix block, the same on every line; `block_ids` ids separated by
spaces, possibly none: the same id means the same tokens from the beginning of the prompt to the
end of that block, and ids beyond the prompt name the blocks of the answer.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sim.errors import ScenarioError
from sim.settings import settings
from sim.workload.cells import (
    cells_of,
    csv_pieces,
    is_whole,
    numbers,
    require_columns,
    shown,
    whole_numbers,
)
from sim.workload.origin import Origin
from sim.workload.prefixes import check_prefixes
from sim.workload.trace import Ints, Trace

NEEDED = ("arrival_s", "prompt_tokens", "output_tokens")
OPTIONAL = ("max_tokens", "block_tokens", "block_ids")


@settings
class Canonical:
    """Times are kept as they stand in the file."""

    @staticmethod
    def sniff(head: str) -> bool:
        """The header names arrival_s."""
        return "arrival_s" in cells_of(head.partition("\n")[0])

    def read(self, path: Path) -> Trace:
        """The trace; ScenarioError when a line is damaged, out of order, or has other columns."""
        parts = [_piece(origin, cells) for origin, cells in csv_pieces(path, _check_header)]
        if not parts:
            raise ScenarioError(f"{path} has no requests; give it at least one below the header")
        columns = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
        sizes = columns.get("block_tokens")
        trace = Trace(
            arrival_s=columns["arrival_s"],
            prompt_tokens=columns["prompt_tokens"],
            output_tokens=columns["output_tokens"],
            max_tokens=columns.get("max_tokens"),
            block_ids=columns.get("block_ids"),
            block_starts=None if sizes is None else _starts(columns["block_counts"]),
            block_tokens=0 if sizes is None else _one_size(sizes, path),
            origin=Origin(str(path), 2),
        )
        check_prefixes(trace)
        return trace


def _check_header(path: Path, header: list[str]) -> None:
    require_columns(path, header, NEEDED, OPTIONAL, reader="canonical")
    if ("block_tokens" in header) != ("block_ids" in header):
        raise ScenarioError(f"{path}, line 1: block_tokens and block_ids need each other; add one")


def _piece(origin: Origin, cells: dict[str, tuple[str, ...]]) -> dict[str, NDArray[Any]]:
    """The columns of some lines as numbers."""
    columns: dict[str, NDArray[Any]] = {
        "arrival_s": numbers(cells["arrival_s"], origin, "arrival_s")
    }
    for name in ("prompt_tokens", "output_tokens", "block_tokens"):
        if name in cells:
            columns[name] = whole_numbers(cells[name], origin, name)
    if "max_tokens" in cells:
        columns["max_tokens"] = _declared(cells["max_tokens"], origin)
    if "block_ids" in cells:
        ids = [cell.split() for cell in cells["block_ids"]]
        columns["block_counts"] = np.array([len(some) for some in ids], dtype=np.int64)
        columns["block_ids"] = _flat(ids, origin)
    return columns


def _declared(cells: Sequence[str], origin: Origin) -> Ints:
    """max_tokens, 0 where the cell is empty; a 0 that was written is refused."""
    if "0" in cells:
        complaint = "allows no answer; leave the cell empty where nothing was declared"
        raise origin.refuse(cells.index("0"), "max_tokens", 0, complaint)
    return whole_numbers([cell or "0" for cell in cells], origin, "max_tokens")


def _flat(ids: Sequence[list[str]], origin: Origin) -> Ints:
    flat = list(chain.from_iterable(ids))
    try:
        return whole_numbers(flat, Origin(), "block_ids")
    except ScenarioError:
        bad = next(i for i, word in enumerate(flat) if not is_whole(word))
        rows = list(chain.from_iterable([row] * len(some) for row, some in enumerate(ids)))
        complaint = "is not a block id, a whole number from 0 on; mend the line"
        raise origin.refuse(rows[bad], "block_ids", shown(flat[bad]), complaint) from None


def _starts(counts: Ints) -> Ints:
    return np.concatenate([np.zeros(1, dtype=np.int64), np.cumsum(counts)])


def _one_size(sizes: Ints, path: Path) -> int:
    """The block size that every line gives."""
    other = np.flatnonzero((sizes != sizes[0]) | (sizes < 1))
    if other.size:
        row = int(other[0])
        complaint = "is not one block size for the whole file; write the same size, from 1 on"
        raise Origin(str(path), 2).refuse(row, "block_tokens", sizes[row], complaint)
    return int(sizes[0])
