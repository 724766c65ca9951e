"""What faults, autoscalers, clients, weight updates and the end of a run do to an engine."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sim.clock import STEP_END
from sim.engine.flight import NO_CHUNKS
from sim.engine.rank import Rank
from sim.engine.sequence import Sequence
from sim.engine.stays import FAILED, UNFINISHED
from sim.engine.updates import flush, set_version
from sim.engine.verify_lane import VerifyLane
from sim.errors import BrokenInvariant
from sim.record.log import Emit
from sim.record.tables import ENGINE_STATES

if TYPE_CHECKING:
    from sim.engine.engine import Engine

RUNNING, PAUSED, STOPPED = range(len(ENGINE_STATES))


@dataclass(frozen=True, slots=True)
class Levers:
    """Pause, resume, slow down, break, update, empty and close one engine."""

    engine: Engine
    emit: Emit

    def __post_init__(self) -> None:
        self._log()

    def pause(self) -> None:
        """Stop after the passes in progress."""
        self._change(PAUSED)
        self.engine.poke()

    def quiet(self, told: Callable[[], None]) -> None:
        """Call back as soon as no pass is under way: at once, or at the end of a commit. After a
        pause, until the resume, nothing changes in the engine but by those who ask it to."""
        self.engine.departures.when_quiet(told)

    def resume(self) -> None:
        """Go on after a pause or a fault."""
        self._change(RUNNING)
        self.engine.poke()

    def withdraw(
        self,
        sequence: Sequence,
        out: Callable[[], None],
        *,
        hold_kv: Callable[[], bool] | None = None,
    ) -> None:
        """Take a sequence of this engine out, wherever it is: waiting, computing, arrived, or held
        for a transfer. When no pass works on it any more (a leap ends with the pass in progress),
        its KV is freed, its stay ends as `withdrawn`, and `out` is called: from then on it may be
        submitted anywhere, where prompt and generated tokens are computed again. If its last token
        is made by then, or a fault comes first, the port hears of that instead. The last of
        several withdrawals counts. One that decodes, where `hold_kv` says so then, stops with its
        KV, which is held here until `Engine.release` (its `engine` is then still this one)."""
        self.engine.departures.withdraw(sequence, out, hold_kv=hold_kv)

    def flush(self, *, keep_kv: bool) -> None:
        """The KV was made with old weights: nobody finds prefix blocks made until now. With
        `keep_kv` the sequences go on with what they have (in-flight updates); else all that run
        are sent back to the head of the waiting line, in order, and compute it again. KV that is
        held for or on its way to another engine is kept. Only while the engine is quiet."""
        flush(self.engine, keep_kv=keep_kv)

    def set_version(self, version: int) -> None:
        """The weights are of another version from now on, and so are the tokens. Only while the
        engine is quiet."""
        set_version(self.engine, version)
        self._log()

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
        engine.turns.hurry()
        if not flying:
            self.lose_everything()

    def lose_everything(self) -> None:
        """Report every sequence as lost, and start with an empty cache."""
        engine = self.engine
        engine.departures.forget()
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
        lane = sequence.lane
        if lane is not None:
            lane.leave(sequence)
        if lane is not None or sequence not in rank.arrived:
            self.engine.stays.end(rank, lane, sequence, closed)

    def _change(self, state: int) -> None:
        self.engine.state = state
        self._log()

    def _log(self) -> None:
        engine = self.engine
        self.emit((engine.number, engine.clock.now, engine.state, engine.version))
