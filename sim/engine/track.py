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
        "_heads",
        "_n",
        "_open",
        "_pipeline_s",
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
        self._pipeline_s = self._contention_s = 0.0
        self._heads: list[tuple[float, ...]] = []

    def continues(self, start_s: float) -> bool:
        """Whether a pass with the same members that starts now goes on with the open run."""
        return self._open and self.ends[-1] == start_s

    def begin(
        self, start_s: float, shapes: Many[StepShape], ranks: Many[Rank], prefill_gap_s: float
    ) -> None:
        """A pass with other members, or after a gap, begins: write the run before it."""
        self.close()
        first = len(self.ends)
        gap = start_s - self.ends[-1] if first else 0.0
        self._open, self._first, self._n = True, first, 0
        self._heads = [
            (
                self._engine,
                i,
                self.number,
                first,
                start_s,
                gap,
                prefill_gap_s,
                s.prefill_tokens,
                s.prefill_pairs,
                s.prefill_kv_tokens,
                s.prefills,
                s.decodes,
                s.context_tokens,
                *s.capped_tokens,
                *s.below,
                *s.capped_pairs,
                s.sampled,
                ranks[i].cache.used,
                ranks[i].cache.cached,
                len(ranks[i].waiting),
            )
            for i, s in enumerate(shapes)
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
            end = self.ends[self._first + self._n - 1]
            tail = (self._n, end, self._pipeline_s, self._contention_s)
            for head in self._heads:
                self._emit(head + tail)
        self._open = False
        self._pipeline_s = self._contention_s = 0.0
