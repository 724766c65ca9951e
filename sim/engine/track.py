"""The clock of a slot and the journal of what ran on it.

Steps are logged as runs with the same members: a run is opened with a snapshot of the shapes, grows
with every further step, and is written when anything changes. Leaping and stepping therefore write
the same rows.
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence as Many

from sim.engine.rank import Rank
from sim.perf.shape import StepShape
from sim.record.log import Emit


class Track:
    """One slot's passes: the end of each, and rows of `steps`."""

    __slots__ = (
        "_contention_s",
        "_emit",
        "_engine",
        "_first",
        "_n",
        "_open",
        "_pipeline_s",
        "_start",
        "_tails",
        "ends",
        "number",
    )

    def __init__(self, engine: int, number: int, emit: Emit) -> None:
        self.ends = array("d")
        """End of every pass, seconds."""
        self.number = number
        self._engine = engine
        self._emit = emit
        self._open = False
        self._first = self._n = 0
        self._start = self._pipeline_s = self._contention_s = 0.0
        self._tails: list[tuple[float, ...]] = []

    def begin(
        self,
        start_s: float,
        shapes: Many[StepShape],
        ranks: Many[Rank],
        *,
        same: bool,
        prefill_gap_s: float,
    ) -> None:
        """A pass begins. It continues the open run when it has the `same` members and follows
        without a gap."""
        last = self.ends[-1] if self.ends else 0.0
        if same and self._open and last == start_s:
            return
        self.close()
        self._open = True
        self._first, self._n, self._start = len(self.ends), 0, start_s
        gap = start_s - last if self.ends else 0.0
        self._tails = [
            (*_snapshot(s, r), gap, prefill_gap_s) for s, r in zip(shapes, ranks, strict=True)
        ]

    def commit(self, ends: Many[float], pipeline_s: float, contention_s: float) -> None:
        """Passes have ended."""
        self.ends.extend(ends)
        self._n += len(ends)
        self._pipeline_s += pipeline_s
        self._contention_s += contention_s

    def close(self) -> None:
        """Write the open run, one row a rank."""
        if self._open and self._n:
            end, waits = self.ends[self._first + self._n - 1], (self._pipeline_s, self._contention_s)
            for rank, tail in enumerate(self._tails):
                head = (self._engine, rank, self.number, self._first, self._n, self._start, end)
                self._emit(head + tail + waits)
        self._open = False
        self._pipeline_s = self._contention_s = 0.0


def _snapshot(s: StepShape, rank: Rank) -> tuple[float, ...]:
    """The columns from `prefill_tokens` to `waiting`."""
    cache = rank.cache
    return (
        s.prefill_tokens,
        s.prefill_pairs,
        s.prefill_kv_tokens,
        s.prefills,
        s.decodes,
        s.context_tokens,
        s.capped_tokens[0],
        s.capped_tokens[1],
        s.below[0],
        s.below[1],
        s.capped_pairs[0],
        s.capped_pairs[1],
        s.sampled,
        cache.capacity - cache.free - cache.cached,
        cache.cached,
        len(rank.waiting),
    )
