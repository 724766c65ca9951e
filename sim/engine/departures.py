"""Those who leave an engine before their end, and those who wait until it is quiet."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from simpy.events import Event

from sim.clock import ARRIVAL
from sim.engine.rank import Rank
from sim.engine.sequence import Sequence
from sim.engine.stays import HANDED_OFF, WITHDRAWN
from sim.errors import BrokenInvariant

if TYPE_CHECKING:
    from sim.engine.engine import Engine

Told = Callable[[], None]
Asked = Callable[[], bool]

BEFORE_DECISIONS = ARRIVAL + (1 << 31)
"""The beat of departures: behind all arrivals of an instant."""


def withdraw(sequence: Sequence, out: Told, *, hold_kv: Asked | None = None) -> None:
    """Take a sequence out of the engine that it is in; see `Levers.withdraw`."""
    if sequence.engine is None:
        raise BrokenInvariant(f"request {sequence.number} is to be taken out, but is nowhere")
    sequence.engine.levers.withdraw(sequence, out, hold_kv=hold_kv)


def has_room(engine: Engine, rank: int, sequence: Sequence) -> bool:
    """Whether a rank would give KV room to a sequence that is on its way at once."""
    engine.settle()
    mine = engine.ranks[rank]
    whole = mine.preemption.reservation_tokens(sequence, mine.limits.context_tokens)
    units = mine.units_for(max(sequence.ask.prompt_tokens + sequence.made, whole or 0))
    return not mine.waiting and not mine.room.asked and units <= mine.cache.available


@dataclass(eq=False, slots=True)
class Departures:
    """Takes sequences out between passes.

    All go in one beat, after the arrivals of the instant and before anybody decides: at once when
    no pass works on them, else at the instant at which it commits. Who leaves in which order
    therefore does not depend on whether passes were priced one by one or many at once.
    """

    engine: Engine
    awaited: bool = False
    """Somebody waits for a pass to end."""
    _leaving: dict[Sequence, tuple[Told, Asked | None]] = field(default_factory=dict)
    """(who is told, who says whether its KV is held)"""
    _listeners: list[Told] = field(default_factory=list)
    _beat: Event | None = None

    @property
    def quiet(self) -> bool:
        """Whether no pass is under way."""
        return not any(f.flying for f in self.engine.flights)

    def when_quiet(self, told: Told) -> None:
        """Call back as soon as no pass is under way."""
        self._listeners.append(told)
        self.soon()

    def withdraw(self, sequence: Sequence, out: Told, *, hold_kv: Asked | None) -> None:
        """See `Levers.withdraw`."""
        engine = self.engine
        if sequence.engine is not engine:
            raise BrokenInvariant(
                f"request {sequence.number} is not in engine {engine.number}, which was to let it "
                f"go at {engine.clock.now} s"
            )
        prefilling = engine.ranks[sequence.rank].prefilling
        if sequence in prefilling:
            prefilling.remove(sequence)  # no more chunks for it
        self._leaving[sequence] = out, hold_kv
        engine.poke()
        self.soon()

    def is_leaving(self, sequence: Sequence) -> bool:
        """Whether it goes when the passes that work on it commit."""
        return sequence in self._leaving

    def soon(self) -> None:
        """Let those go in this instant whom no pass holds."""
        if self._beat is None:
            clock = self.engine.clock
            self._beat = clock.at(clock.now, BEFORE_DECISIONS + self.engine.number)
            if self._beat.callbacks is not None:
                self._beat.callbacks.append(self._let_go)

    def _let_go(self, event: Event) -> None:
        engine, self._beat = self.engine, None
        engine.settle()
        for sequence in [s for s in self._leaving if not s.in_flight]:
            out, hold_kv = self._leaving.pop(sequence)
            if sequence.engine is engine:  # it may have made its last token
                rank = engine.ranks[sequence.rank]
                if sequence.lane is not None and hold_kv is not None and hold_kv():
                    self._hold(rank, sequence)
                else:
                    self._take_out(rank, sequence)
                out()
        for rank in engine.ranks:
            rank.room.grant()
        if self._listeners and self.quiet:
            told, self._listeners = self._listeners, []
            for listener in told:
                listener()
        self.awaited = bool(self._leaving or self._listeners)
        engine.poke()

    def forget(self) -> None:
        """Everybody was lost, and those who were leaving with them."""
        self._leaving.clear()

    def _hold(self, rank: Rank, sequence: Sequence) -> None:
        """It decodes no more, and its KV waits here for its transfer."""
        sequence.mark(self.engine.version)
        self.engine.stays.end(rank, rank.stop(sequence), sequence, HANDED_OFF)
        rank.held[sequence] = None
        self.engine.gauges.left(rank.index)

    def _take_out(self, rank: Rank, sequence: Sequence) -> None:
        """Free what it holds, end its stay, and make it ready to be submitted anywhere."""
        engine = self.engine
        sequence.mark(engine.version)
        left = sequence.target - sequence.computed
        if sequence in rank.held:
            del rank.held[sequence]
        else:
            engine.gauges.left(rank.index)
            if sequence in rank.arrived:
                rank.arrived.remove(sequence)
            elif sequence in rank.running:
                engine.stays.end(rank, rank.stop(sequence), sequence, WITHDRAWN)
            else:
                rank.waiting.remove(sequence)
                engine.stays.end(rank, None, sequence, WITHDRAWN)
            engine.gauges.computed(rank.index, left)
        rank.release(sequence)
        sequence.start_over()
        sequence.engine = None
