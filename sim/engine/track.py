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
from sim.record.log import Log


class Track:
    """One slot's passes: the end of each, and rows of `steps`."""

    __slots__ = (
        "_contention_s",
        "_emit",
        "_engine",
        "_first",
        "_heads",
        "_keeps",
        "_open",
        "_pipeline_s",
        "ends",
        "last_s",
        "number",
        "steps",
    )

    def __init__(self, engine: int, number: int, log: Log) -> None:
        self.steps = 0
        """Passes so far; the number of the next one."""
        self.last_s = 0.0
        """End of the last pass, seconds."""
        self.ends = array("d")
        """End of every pass; empty where the log does not keep them."""
        self.number = number
        self._keeps = log.keeps_steps
        self._engine = engine
        self._emit = log.steps
        self._open = False
        self._first = 0
        self._pipeline_s = self._contention_s = 0.0
        self._heads: list[tuple[float, ...]] = []

    def continues(self, start_s: float) -> bool:
        """Whether a pass with the same members that starts now goes on with the open run."""
        return self._open and self.last_s == start_s

    def begin(
        self, start_s: float, shapes: Many[StepShape], ranks: Many[Rank], prefill_gap_s: float
    ) -> None:
        """A pass with other members, or after a gap, begins: write the run before it."""
        self.close()
        first = self.steps
        gap = start_s - self.last_s if first else 0.0
        self._open, self._first = True, first
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
        """Passes have ended; with no `ends`, none has."""
        if ends:
            self.steps += len(ends)
            self.last_s = ends[-1]
            if self._keeps:
                self.ends.extend(ends)
        self._pipeline_s += pipeline_s
        self._contention_s += contention_s

    def close(self) -> None:
        """Write the open run, one row a rank."""
        n = self.steps - self._first
        if self._open and n:
            tail = (n, self.last_s, self._pipeline_s, self._contention_s)
            for head in self._heads:
                self._emit(head + tail)
        self._open = False
        self._pipeline_s = self._contention_s = 0.0
