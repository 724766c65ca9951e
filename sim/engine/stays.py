"""Rows of the `intervals` table: the stays of sequences in an engine."""

from __future__ import annotations

from dataclasses import dataclass

from sim.clock import Clock
from sim.engine.rank import Rank
from sim.engine.sequence import Sequence
from sim.engine.verify_lane import AnyLane
from sim.record.log import Emit
from sim.record.tables import CLOSED, NONE, STAGES

PREFILL, DECODE, RECOMPUTE = range(len(STAGES))
FINISHED, HANDED_OFF, DECODING, PREEMPTED, FAILED, UNFINISHED, WITHDRAWN = range(len(CLOSED))


@dataclass(frozen=True, slots=True)
class Stays:
    """Writes the stays of one engine. Each closes one stay and opens the next."""

    engine: int
    clock: Clock
    emit: Emit

    def prefill(self, rank: int, sequence: Sequence, closed: int) -> None:
        """The stay in which a prompt was (or would have been) computed ends now."""
        ran = sequence.last_step != NONE
        now_s = self.clock.now
        self.emit(
            (
                sequence.number,
                self.engine,
                rank,
                sequence.track,
                RECOMPUTE if sequence.recomputing else PREFILL,
                sequence.enter_s,
                sequence.first_step if ran else 0,
                sequence.last_step,
                sequence.stay_tokens,
                sequence.stay_cached,
                closed,
                now_s,
            )
        )
        self._open_next(sequence, now_s)

    def decode(self, rank: int, tick: int, slot: int, sequence: Sequence, closed: int) -> None:
        """A decoding stay ends before pass `tick` of the slot."""
        now_s = self.clock.now
        self.emit(
            (
                sequence.number,
                self.engine,
                rank,
                slot,
                DECODE,
                sequence.enter_s,
                sequence.join_tick,
                tick - 1,
                sequence.stay_tokens,
                0,
                closed,
                now_s,
            )
        )
        if closed != FINISHED:
            self._open_next(sequence, now_s)

    def end(self, rank: Rank, lane: AnyLane | None, sequence: Sequence, closed: int) -> None:
        """A stay ends early: the decoding in a lane, or the computing of a prompt."""
        if lane is None:
            self.prefill(rank.index, sequence, closed)
        else:
            self.decode(rank.index, lane.tick, rank.lanes.index(lane), sequence, closed)

    @staticmethod
    def _open_next(sequence: Sequence, now_s: float) -> None:
        sequence.enter_s = now_s
        sequence.first_step, sequence.last_step = 0, NONE
        sequence.stay_tokens = sequence.stay_cached = 0
