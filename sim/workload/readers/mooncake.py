"""Mooncake's traces (Qin et al., FAST 2025), and others written in their format.

JSON lines with `timestamp` (ms from the start), `input_length` and `output_length` (tokens), and
`hash_ids`: one id per block of the prompt, the last one partial; the same id means the same tokens
from the beginning of the prompt to the end of that block.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from sim.errors import BrokenInvariant, ScenarioError
from sim.settings import settings
from sim.units import PositiveInt
from sim.workload.cells import numbers, shown, whole_numbers
from sim.workload.origin import Origin
from sim.workload.prefixes import check_prefixes
from sim.workload.text import pieces
from sim.workload.trace import Floats, Ints, Trace

KEYS = ("timestamp", "input_length", "output_length", "hash_ids")
OURS = dict(zip(("arrival_s", "prompt_tokens", "output_tokens", "block_ids"), KEYS, strict=True))


@settings
class Mooncake:
    """Times are kept as they stand in the file."""

    block_tokens: PositiveInt = 512
    """Tokens that one of the `hash_ids` stands for; 512 in Mooncake's own traces."""

    @staticmethod
    def sniff(head: str) -> bool:
        """The first line is JSON with hash ids."""
        first = head.partition("\n")[0]
        return first.lstrip().startswith("{") and '"hash_ids"' in first and '"timestamp"' in first

    def read(self, path: Path) -> Trace:
        """The trace; ScenarioError when a line is damaged, out of order, or has other keys."""
        times: list[Floats] = []
        prompts: list[Ints] = []
        outputs: list[Ints] = []
        ids: list[Ints] = []
        counts: list[Ints] = []
        for first, lines in pieces(path):
            origin = Origin(str(path), first)
            rows = [_values(line, row, origin) for row, line in enumerate(lines)]
            stamps, inputs, answers, hashes = zip(*rows, strict=True)
            times.append(numbers(stamps, origin, "timestamp") / 1e3)
            prompts.append(whole_numbers(inputs, origin, "input_length"))
            outputs.append(whole_numbers(answers, origin, "output_length"))
            counts.append(np.fromiter(map(len, hashes), dtype=np.int64, count=len(hashes)))
            ids.append(_flat(hashes, origin))
        if not times:
            raise ScenarioError(f"{path} is empty; a trace has at least one request")
        trace = Trace(
            arrival_s=np.concatenate(times),
            prompt_tokens=np.concatenate(prompts),
            output_tokens=np.concatenate(outputs),
            block_ids=np.concatenate(ids),
            block_starts=np.concatenate([[0], np.cumsum(np.concatenate(counts))]),
            block_tokens=self.block_tokens,
            origin=Origin(str(path), 1, OURS),
        )
        _check_whole_prompts(trace)
        check_prefixes(trace)
        return trace


def _values(line: str, row: int, origin: Origin) -> tuple[Any, ...]:
    """The four values of a line."""
    try:
        record = json.loads(line)
    except ValueError as error:
        reason = str(error) if line.strip() else "it is blank"
        complaint = f"this is not a whole JSON object ({reason}); is the file complete?"
        raise origin.refuse_line(row, f"{complaint} mend or drop the line") from None
    if not isinstance(record, dict) or record.keys() != set(KEYS):
        raise origin.refuse_line(row, _wrong_keys(record))
    if not isinstance(record["hash_ids"], list):
        complaint = "is not a list of block ids; mend the line"
        raise origin.refuse(row, "hash_ids", shown(record["hash_ids"]), complaint)
    return tuple(record[key] for key in KEYS)


def _wrong_keys(record: object) -> str:
    if not isinstance(record, dict):
        return f"there is {shown(record)} where a JSON object should be; mend the line"
    lost = [f"{key} is missing" for key in KEYS if key not in record]
    strange = [f"{shown(key)} means nothing here" for key in record if key not in KEYS]
    return f"{', '.join(lost + strange)}; the reader 'mooncake' takes {', '.join(KEYS)}"


def _flat(hashes: Sequence[list[object]], origin: Origin) -> Ints:
    flat = list(chain.from_iterable(hashes))
    if all(type(i) is int and 0 <= i < 2**63 for i in flat):
        return np.array(flat, dtype=np.int64)
    for row, some in enumerate(hashes):
        for value in some:
            if type(value) is not int or not 0 <= value < 2**63:
                complaint = "is not a block id, a whole number from 0 on; mend the line"
                raise origin.refuse(row, "hash_ids", shown(value), complaint)
    raise BrokenInvariant(f"{origin.file}: hash_ids were refused without a bad one")


def _check_whole_prompts(trace: Trace) -> None:
    """Every block of a prompt must have its id, else the block size is another one."""
    if trace.block_starts is None:
        return
    counts, size = np.diff(trace.block_starts), trace.block_tokens
    needed = -(-trace.prompt_tokens // size)
    short = np.flatnonzero(counts < needed)
    if short.size:
        row = int(short[0])
        complaint = (
            f"ids do not cover a prompt of {trace.prompt_tokens[row]} tokens in blocks of {size}; "
            "set the reader's block_tokens to the size this file was written with"
        )
        raise trace.origin.refuse(row, "block_ids", counts[row], complaint)
