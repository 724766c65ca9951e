"""What faults, autoscalers, weight syncs and the end of a run do to an engine."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from sim.clock import STEP_END
from sim.engine.flight import NO_CHUNKS
from sim.engine.rank import Rank
from sim.engine.sequence import Sequence
from sim.engine.stays import FAILED, UNFINISHED
from sim.engine.verify_lane import VerifyLane
from sim.errors import BrokenInvariant
from sim.record.log import Emit
from sim.record.tables import ENGINE_STATES

if TYPE_CHECKING:
    from sim.engine.engine import Engine

RUNNING, PAUSED, STOPPED = range(len(ENGINE_STATES))


@dataclass(frozen=True, slots=True)
class Levers:
    """Pause, resume, slow down, break and close one engine."""

    engine: Engine
    emit: Emit

    def __post_init__(self) -> None:
        self._log()

    def pause(self) -> None:
        """Stop after the passes in progress."""
        self._change(PAUSED)
        self.engine.poke()

    def resume(self) -> None:
        """Go on after a pause or a fault."""
        self._change(RUNNING)
        self.engine.poke()

    def set_draft_lag(self, versions: int) -> None:
        """From the next pass on the draft is so many versions of the weights behind the target.
        Nothing to an engine that does not speculate."""
        for rank in self.engine.ranks:
            for lane in rank.lanes:
                if isinstance(lane, VerifyLane):
                    lane.set_lag(versions)
        self.engine.poke()

    def rerate(self, factor: float) -> None:
        """From now on work takes `factor` (1 or more) times as long as priced; the pass in progress
        is re-timed (in a pipeline only later passes are)."""
        engine = self.engine
        if factor < 1.0:
            raise ValueError(f"a slow-down by {factor} would be a speed-up; give 1 or more")
        relative, engine.pacer.factor = factor / engine.pacer.factor, factor
        if len(engine.flights) > 1:
            return
        for flight in engine.flights:
            if flight.flying:
                order = STEP_END + flight.order
                flight.cut(engine.clock, order)
                done = len(flight.ends) - 1
                flight.stretch(engine.clock.now, relative, done)
                flight.retime(engine.clock, flight.ends[-1], order)

    def abort(self) -> None:
        """A fault: passes in progress are lost, completed ones kept, every sequence is reported
        `lost` and the KV cache is empty. The engine is stopped until `resume`."""
        self._change(STOPPED)
        engine = self.engine
        flying = [f for f in engine.flights if f.flying]
        for flight in flying:
            flight.lose_after(engine.clock.now)
            flight.chunks = [NO_CHUNKS for _ in engine.ranks]
            flight.aborted = True
            flight.retime(engine.clock, engine.clock.now, STEP_END + flight.order)
        engine.pacer.forget(engine.clock.now)
        if not flying:
            self.lose_everything()

    def lose_everything(self) -> None:
        """Report every sequence as lost, and start with an empty cache."""
        engine = self.engine
        for flight in engine.flights:
            flight.aborted = False
        for rank in engine.ranks:
            lost, held = rank.drop_all()
            for sequence in lost:
                self._close(rank, sequence, FAILED)
                engine.gauges.left(rank.index)
                engine.port.lost(engine, rank.index, sequence)
            for sequence in held:
                engine.port.lost(engine, rank.index, sequence)
            for reservation in rank.room.drop_all():
                engine.gauges.left(rank.index)
                reservation.lost()
            engine.gauges.nothing_to_compute(rank.index)

    def check_empty(self) -> None:
        """Nobody is left, so every KV unit must be back."""
        for rank in self.engine.ranks:
            if rank.cache.used or rank.running or rank.room.promised or rank.held:
                raise BrokenInvariant(
                    f"engine {self.engine.number}, rank {rank.index} holds {rank.cache.used} KV "
                    f"units of nobody at the end, {self.engine.clock.now} s"
                )

    def close(self) -> None:
        """The run is over: write what is open. Unfinished stays are logged as such."""
        engine = self.engine
        for flight in engine.flights:
            if flight.flying:
                flight.lose_after(engine.clock.now)
                flight.track.commit(flight.ends, flight.pipeline_s, flight.contention_s)
                if flight.decodes:
                    for lane in flight.lanes:
                        lane.advance(len(flight.ends))
            flight.decode_track.close()
            flight.prefill_track.close()
        for rank in engine.ranks:
            for sequence in rank.everyone():
                self._close(rank, sequence, UNFINISHED)

    def _close(self, rank: Rank, sequence: Sequence, closed: int) -> None:
        stays, lane = self.engine.stays, sequence.lane
        if lane is not None:
            lane.leave(sequence)
            stays.decode(rank.index, lane.tick, rank.lanes.index(lane), sequence, closed)
        elif sequence not in rank.arrived:
            stays.prefill(rank.index, sequence, closed)

    def _change(self, state: int) -> None:
        self.engine.state = state
        self._log()

    def _log(self) -> None:
        self.emit((self.engine.number, self.engine.clock.now, self.engine.state))
