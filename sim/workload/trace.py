"""A trace: what was asked, when, as columns. A million requests take some tens of megabytes."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from sim.errors import ScenarioError
from sim.workload.origin import Origin

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Trace:
    """n requests in order of arrival, checked when made; the arrays are read-only afterwards.

    Raises ScenarioError, naming file, line, column and value, when a time is not finite, negative
    or earlier than the one before, when a prompt or an output has no token, when `max_tokens` is
    below the output, when ids name blocks beyond the output, or when there is no row at all. Equal
    times keep the order of the file.
    """

    arrival_s: Floats
    """(n,) seconds since the start of the run."""
    prompt_tokens: Ints
    output_tokens: Ints
    max_tokens: Ints | None = None
    """(n,) declared longest answer, 0 where the client declared none; None: nobody did."""
    block_ids: Ints | None = None
    """All requests' prefix-block ids, end to end (`Request.block_ids` says what an id means)."""
    block_starts: Ints | None = None
    """(n + 1,) request i has `block_ids[block_starts[i]:block_starts[i + 1]]`."""
    block_tokens: int = 0
    """Tokens per block id; 0 without ids."""
    origin: Origin = field(default_factory=Origin)

    def __post_init__(self) -> None:
        _check_shapes(self)
        if len(self) == 0:
            raise ScenarioError(f"{self.origin.file} has no requests; give it at least one")
        _check_times(self)
        _check_tokens(self)
        _check_blocks(self)
        for column in (self.arrival_s, self.prompt_tokens, self.output_tokens, self.max_tokens,
                       self.block_ids, self.block_starts):  # fmt: skip
            if column is not None:
                column.flags.writeable = False

    def __len__(self) -> int:
        return len(self.arrival_s)

    def timed(self, arrival_s: Floats) -> Trace:
        """The same requests at other times, shape (n,), in seconds."""
        return replace(self, arrival_s=arrival_s)

    def first(self, n: int) -> Trace:
        """The first `n` requests; ScenarioError when there are fewer."""
        if n > len(self):
            raise ScenarioError(
                f"workload.requests: {n} were asked for but {self.origin.file} has {len(self)}; "
                f"write at most {len(self)} or leave the setting out"
            )
        ids, starts = self.block_ids, self.block_starts
        return replace(
            self,
            arrival_s=self.arrival_s[:n],
            prompt_tokens=self.prompt_tokens[:n],
            output_tokens=self.output_tokens[:n],
            max_tokens=None if self.max_tokens is None else self.max_tokens[:n],
            block_ids=None if ids is None or starts is None else ids[: starts[n]],
            block_starts=None if starts is None else starts[: n + 1],
        )


def _check_shapes(trace: Trace) -> None:
    n = len(trace.arrival_s)
    rows = [trace.prompt_tokens, trace.output_tokens]
    rows += [] if trace.max_tokens is None else [trace.max_tokens]
    if any(column.shape != (n,) for column in rows):
        raise ValueError("the columns of a trace must have one value per request")
    if (trace.block_ids is None) != (trace.block_starts is None):
        raise ValueError("block_ids and block_starts come together")
    if (trace.block_starts is None) != (trace.block_tokens == 0):
        raise ValueError("block ids need block_tokens, and only they do")
    if trace.block_starts is not None and trace.block_starts.shape != (n + 1,):
        raise ValueError("block_starts must have one value more than there are requests")


def _first(mask: NDArray[np.bool_]) -> int | None:
    """The first row where `mask` is true."""
    row = int(np.argmax(mask))
    return row if mask[row] else None


def _check_times(trace: Trace) -> None:
    times, origin = trace.arrival_s, trace.origin
    row = _first(~np.isfinite(times) | (times < 0))
    if row is not None:
        raise origin.refuse(row, "arrival_s", times[row], "is not a time; write one from 0 on")
    late = np.zeros(len(times), dtype=np.bool_)
    late[1:] = times[1:] < times[:-1]
    row = _first(late)
    if row is not None:
        complaint = (
            f"s is earlier than the line before it ({times[row - 1]} s); sort the file by time"
        )
        raise origin.refuse(row, "arrival_s", times[row], complaint)


def _check_tokens(trace: Trace) -> None:
    for column, values in (
        ("prompt_tokens", trace.prompt_tokens),
        ("output_tokens", trace.output_tokens),
    ):
        row = _first(values < 1)
        if row is not None:
            complaint = "tokens cannot be served; write at least 1 or drop the line"
            raise trace.origin.refuse(row, column, values[row], complaint)
    declared = trace.max_tokens
    if declared is None:
        return
    row = _first((declared != 0) & (declared < trace.output_tokens))
    if row is not None:
        complaint = (
            f"is below the {trace.output_tokens[row]} tokens of the answer; "
            "raise it or shorten the answer"
        )
        raise trace.origin.refuse(row, "max_tokens", declared[row], complaint)


def _check_blocks(trace: Trace) -> None:
    ids, starts, size = trace.block_ids, trace.block_starts, trace.block_tokens
    if ids is None or starts is None:
        return
    counts = np.diff(starts)
    room = -(-(trace.prompt_tokens + trace.output_tokens) // size)
    row = _first(counts > room)
    if row is not None:
        complaint = f"ids are more than the {room[row]} blocks of {size} tokens that it has"
        raise trace.origin.refuse(row, "block_ids", counts[row], complaint)
    if ids.size and int(ids.min()) < 0:
        at = int(np.argmin(ids))
        row = int(np.searchsorted(starts, at, side="right")) - 1
        raise trace.origin.refuse(row, "block_ids", ids[at], "is negative; number blocks from 0")
