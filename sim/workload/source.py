"""Clients at run time: who sends which request when. Requests are made one at a time."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from heapq import heapify, heappop, heappush
from itertools import pairwise, repeat

from sim.errors import BrokenInvariant
from sim.workload.request import Happening, Request
from sim.workload.trace import Trace

SLICE = 1024
"""Rows that stand as Python objects at a time; the others stay in the columns."""


@dataclass(eq=False, slots=True)
class OpenSource:
    """Sends every request at its time, whatever becomes of the others."""

    asks: Trace
    _coming: Iterator[Request] = field(init=False)
    _ahead: Request | None = field(init=False)

    def __post_init__(self) -> None:
        self._coming = _made(self.asks)
        self._ahead = next(self._coming)

    @property
    def listens(self) -> bool:
        """Open load does not answer."""
        return False

    @property
    def block_tokens(self) -> int:
        """The trace's."""
        return self.asks.block_tokens

    @property
    def expected(self) -> int:
        """All requests of the trace."""
        return len(self.asks)

    def peek(self) -> float | None:
        """Seconds at which the next request arrives; None at the end."""
        ahead = self._ahead
        return None if ahead is None else ahead.arrival_s

    def take(self) -> Request:
        """The next request."""
        taken = self._ahead
        if taken is None:
            raise BrokenInvariant(f"request {len(self.asks)} was taken, but there is none")
        self._ahead = next(self._coming, None)
        return taken

    def on_event(self, what: Happening, request: Request, now_s: float) -> None:
        """Open load does not answer."""


@dataclass(eq=False, slots=True)
class ClosedLoopSource:
    """Sends the next request, in the trace's order, when a client is free again."""

    asks: Trace
    concurrency: int
    think_time_s: float = 0.0
    _coming: Iterator[Row] = field(init=False)
    _expected: int = field(init=False)
    _sent: int = field(init=False, default=0)
    _free_at: list[float] = field(init=False)
    """Heap: when each client that waits for nothing asks next."""
    _outstanding: set[int] = field(init=False, default_factory=set)

    def __post_init__(self) -> None:
        self._coming = (row for rows in _slices(self.asks) for row in zip(*rows, strict=False))
        self._expected = len(self.asks)
        self._free_at = [0.0] * min(self.concurrency, self._expected)
        heapify(self._free_at)

    @property
    def listens(self) -> bool:
        """Every end frees a client."""
        return True

    @property
    def block_tokens(self) -> int:
        """The trace's."""
        return self.asks.block_tokens

    @property
    def expected(self) -> int:
        """All requests of the trace."""
        return self._expected

    def peek(self) -> float | None:
        """Seconds at which a free client asks; None while all wait, and at the end."""
        if self._sent == self._expected or not self._free_at:
            return None
        return self._free_at[0]

    def take(self) -> Request:
        """The next request, of the client that is free first."""
        if self.peek() is None:
            raise BrokenInvariant(f"request {self._sent} was taken while no client may ask")
        number = self._sent
        self._sent += 1
        self._outstanding.add(number)
        return Request(number, heappop(self._free_at), *next(self._coming))

    def on_event(self, what: Happening, request: Request, now_s: float) -> None:
        """An end, good or bad, frees the client; a first token does not."""
        if what is Happening.FIRST_TOKEN:
            return
        if request.number not in self._outstanding:
            raise BrokenInvariant(
                f"request {request.number} ended ({what.name.lower()}) at {now_s} s but is not "
                "outstanding"
            )
        self._outstanding.remove(request.number)
        heappush(self._free_at, now_s + self.think_time_s)


Row = tuple[int, int, tuple[int, ...], int, int | None]
"""A request's prompt, output, block ids, block size and declared maximum."""

Columns = tuple[
    list[int], list[int], Iterable[tuple[int, ...]], Iterable[int], Iterable[int | None]
]


def _made(asks: Trace) -> Iterator[Request]:
    """All requests at the trace's times."""
    start = 0
    for columns in _slices(asks):
        times = asks.arrival_s[start : start + SLICE].tolist()
        yield from map(Request, range(start, start + len(times)), times, *columns)
        start += SLICE


def _slices(asks: Trace) -> Iterator[Columns]:
    """What is asked, as Python values, `SLICE` rows at a time."""
    for start in range(0, len(asks), SLICE):
        stop = min(start + SLICE, len(asks))
        declared: Iterable[int | None] = repeat(None)
        if asks.max_tokens is not None:
            declared = [m or None for m in asks.max_tokens[start:stop].tolist()]
        yield (
            asks.prompt_tokens[start:stop].tolist(),
            asks.output_tokens[start:stop].tolist(),
            _block_ids(asks, start, stop),
            repeat(asks.block_tokens),
            declared,
        )


def _block_ids(asks: Trace, start: int, stop: int) -> Iterable[tuple[int, ...]]:
    if asks.block_ids is None or asks.block_starts is None:
        return repeat(())
    bounds = asks.block_starts[start : stop + 1].tolist()
    offset = bounds[0]
    flat = asks.block_ids[offset : bounds[-1]].tolist()
    return [tuple(flat[a - offset : b - offset]) for a, b in pairwise(bounds)]
