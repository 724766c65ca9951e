"""Azure's LLM inference traces (AzurePublicDataset, 2023 and 2024; Patel et al., ISCA 2024).

CSV with the columns TIMESTAMP (wall clock in UTC with up to nine decimals, as in
`2023-11-16 18:15:46.6805900`), ContextTokens and GeneratedTokens.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from sim.errors import ScenarioError
from sim.settings import settings
from sim.workload.cells import cells_of, csv_pieces, require_columns, shown, whole_numbers
from sim.workload.origin import Origin
from sim.workload.trace import Ints, Trace

COLUMNS = ("TIMESTAMP", "ContextTokens", "GeneratedTokens")
OURS = dict(zip(("arrival_s", "prompt_tokens", "output_tokens"), COLUMNS, strict=True))
_STAMP = re.compile(
    r"((?:19|20)\d\d-\d\d-\d\d[ T]\d\d:\d\d:\d\d(?:\.\d{1,9})?)(?:Z|\+00:00)?", re.ASCII
)


@settings
class Azure:
    """Times count from the first request, exact to the nanosecond."""

    @staticmethod
    def sniff(head: str) -> bool:
        """The header names a TIMESTAMP and ContextTokens."""
        return {"TIMESTAMP", "ContextTokens"} <= set(cells_of(head.partition("\n")[0]))

    def read(self, path: Path) -> Trace:
        """The trace; ScenarioError when a line is damaged or out of order."""
        stamps: list[Ints] = []
        prompts: list[Ints] = []
        outputs: list[Ints] = []
        for origin, columns in csv_pieces(path, _check_header):
            stamps.append(nanoseconds(columns["TIMESTAMP"], origin))
            prompts.append(whole_numbers(columns["ContextTokens"], origin, "ContextTokens"))
            outputs.append(whole_numbers(columns["GeneratedTokens"], origin, "GeneratedTokens"))
        if not stamps:
            raise ScenarioError(f"{path} has no requests; give it at least one below the header")
        clock = np.concatenate(stamps)
        _check_order(clock, Origin(str(path), 2))
        return Trace(
            arrival_s=(clock - clock[0]) / 1e9,
            prompt_tokens=np.concatenate(prompts),
            output_tokens=np.concatenate(outputs),
            origin=Origin(str(path), 2, OURS),
        )


def _check_header(path: Path, header: list[str]) -> None:
    require_columns(path, header, COLUMNS, reader="azure")


def nanoseconds(cells: Sequence[str], origin: Origin) -> Ints:
    """Wall-clock times as integer nanoseconds since 1970."""
    matches = [_STAMP.fullmatch(cell) for cell in cells]
    try:
        stamps = [match[1] for match in matches]  # type: ignore[index]
        return np.array(stamps, dtype="datetime64[ns]").astype(np.int64)
    except (TypeError, ValueError):
        row = next(i for i, cell in enumerate(cells) if not _is_stamp(cell))
        complaint = "is not a time such as 2023-11-16 18:15:46.6805900; mend or drop the line"
        raise origin.refuse(row, "TIMESTAMP", shown(cells[row]), complaint) from None


def _is_stamp(cell: str) -> bool:
    match = _STAMP.fullmatch(cell)
    try:
        return match is not None and not np.isnat(np.datetime64(match[1], "ns"))
    except ValueError:  # such as the 32nd of a month
        return False


def _check_order(clock: Ints, origin: Origin) -> None:
    backwards = np.flatnonzero(np.diff(clock) < 0)
    if backwards.size:
        row = int(backwards[0]) + 1
        stamp = str(np.datetime64(int(clock[row]), "ns")).replace("T", " ")
        complaint = "is earlier than the line before it; sort the file by time"
        raise origin.refuse(row, "TIMESTAMP", stamp, complaint)
