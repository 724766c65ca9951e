"""LLMServingSim's workloads (casys-kaist/LLMServingSim, `workloads/*.jsonl`), token ids as blocks.

JSON lines with `arrival_s` (seconds), `input_tokens`, `output_tokens`, and `prefix_blocks`: one id
per full block of the prompt; the same id means the same tokens from the beginning of the prompt to
the end of that block.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from sim.errors import ScenarioError
from sim.settings import settings
from sim.units import PositiveInt
from sim.workload.cells import is_whole, numbers, shown, whole_numbers
from sim.workload.origin import Origin
from sim.workload.prefixes import check_prefixes
from sim.workload.text import pieces
from sim.workload.trace import Floats, Ints, Trace

KEYS = ("arrival_s", "input_tokens", "output_tokens", "prefix_blocks")
OURS = dict(zip(("arrival_s", "prompt_tokens", "output_tokens", "block_ids"), KEYS, strict=True))


@settings
class LlmServingSim:
    """Times are kept as they stand in the file."""

    block_tokens: PositiveInt = 16
    """Tokens that one of the `prefix_blocks` stands for."""

    @staticmethod
    def sniff(head: str) -> bool:
        """The first line is JSON with an arrival and prefix blocks."""
        first = head.partition("\n")[0]
        return first.lstrip().startswith("{") and all(f'"{key}"' in first for key in KEYS)

    def read(self, path: Path) -> Trace:
        """The trace; ScenarioError when a line is damaged, out of order, or has other keys."""
        times: list[Floats] = []
        tokens: list[tuple[Ints, Ints]] = []
        ids: list[Ints] = []
        counts: list[int] = []
        for first, lines in pieces(path):
            origin = Origin(str(path), first)
            rows = [_values(line, row, origin) for row, line in enumerate(lines)]
            arrivals, inputs, outputs, blocks = zip(*rows, strict=True)
            times.append(numbers(arrivals, origin, "arrival_s"))
            prompts = whole_numbers(inputs, origin, "input_tokens")
            tokens.append((prompts, whole_numbers(outputs, origin, "output_tokens")))
            counts += map(len, blocks)
            ids.append(_flat(blocks, origin))
        if not times:
            raise ScenarioError(f"{path} is empty; a trace has at least one request")
        trace = Trace(
            arrival_s=np.concatenate(times),
            prompt_tokens=np.concatenate([prompts for prompts, _ in tokens]),
            output_tokens=np.concatenate([outputs for _, outputs in tokens]),
            block_ids=np.concatenate(ids),
            block_starts=np.cumsum([0, *counts], dtype=np.int64),
            block_tokens=self.block_tokens,
            origin=Origin(str(path), 1, OURS),
        )
        check_prefixes(trace)
        return trace


def _values(line: str, row: int, origin: Origin) -> tuple[Any, ...]:
    """The four values of a line."""
    try:
        record = json.loads(line)
    except ValueError as error:
        complaint = f"this is not a whole JSON object ({error}); mend or drop the line"
        raise origin.refuse_line(row, complaint) from None
    if not isinstance(record, dict) or record.keys() != set(KEYS):
        keys = ", ".join(record) if isinstance(record, dict) else shown(record)
        complaint = f"there is {keys} where {', '.join(KEYS)} should be; mend the line"
        raise origin.refuse_line(row, complaint)
    if not isinstance(record["prefix_blocks"], list):
        complaint = "is not a list of block ids; mend the line"
        raise origin.refuse(row, "prefix_blocks", shown(record["prefix_blocks"]), complaint)
    return tuple(record[key] for key in KEYS)


def _flat(blocks: Sequence[list[object]], origin: Origin) -> Ints:
    flat = list(chain.from_iterable(blocks))
    for row, some in enumerate(blocks):
        bad = next((i for i in some if not is_whole(i) or isinstance(i, str)), None)
        if bad is not None:
            complaint = "is not a block id, a whole number from 0 on; mend the line"
            raise origin.refuse(row, "prefix_blocks", shown(bad), complaint)
    return np.array(flat, dtype=np.int64)
