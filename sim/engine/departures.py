"""Those who leave an engine before their end, and those who wait until it is quiet."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from sim.engine.rank import Rank
from sim.engine.sequence import Sequence
from sim.engine.stays import WITHDRAWN
from sim.errors import BrokenInvariant

if TYPE_CHECKING:
    from sim.engine.engine import Engine

Told = Callable[[], None]


def withdraw(sequence: Sequence, out: Told) -> None:
    """Take a sequence out of the engine that it is in; see `Levers.withdraw`."""
    if sequence.engine is None:
        raise BrokenInvariant(f"request {sequence.number} is to be taken out, but is nowhere")
    sequence.engine.levers.withdraw(sequence, out)


@dataclass(eq=False, slots=True)
class Departures:
    """Takes sequences out between passes: at once, or when the passes that work on them commit."""

    engine: Engine
    awaited: bool = False
    """Somebody waits for a pass to end."""
    _leaving: dict[Sequence, Told] = field(default_factory=dict)
    _listeners: list[Told] = field(default_factory=list)

    @property
    def quiet(self) -> bool:
        """Whether no pass is under way, nor just being committed."""
        engine = self.engine
        return not engine.committing and not any(f.flying for f in engine.flights)

    def when_quiet(self, told: Told) -> None:
        """Call back as soon as no pass is under way."""
        if self.quiet:
            told()
        else:
            self._listeners.append(told)
            self.awaited = True

    def withdraw(self, sequence: Sequence, out: Told) -> None:
        """See `Levers.withdraw`."""
        engine = self.engine
        if sequence.engine is not engine:
            raise BrokenInvariant(
                f"request {sequence.number} is not in engine {engine.number}, which was to let it "
                f"go at {engine.clock.now} s"
            )
        rank = engine.ranks[sequence.rank]
        if engine.committing or sequence.in_flight:
            if sequence in rank.prefilling:
                rank.prefilling.remove(sequence)  # no more chunks for it
            self._leaving[sequence] = out
            self.awaited = True
        else:
            engine.settle()
            self._take_out(rank, sequence)
            out()
            rank.room.grant()
        engine.poke()

    def is_leaving(self, sequence: Sequence) -> bool:
        """Whether it goes when the passes that work on it commit."""
        return sequence in self._leaving

    def pass_ended(self) -> None:
        """Let those go whom nothing holds any more."""
        for sequence in [s for s in self._leaving if not s.in_flight]:
            out = self._leaving.pop(sequence)
            if sequence.engine is self.engine:  # it may have made its last token
                self._take_out(self.engine.ranks[sequence.rank], sequence)
                out()
        for rank in self.engine.ranks:
            rank.room.grant()
        if self._listeners and self.quiet:
            told, self._listeners = self._listeners, []
            for listener in told:
                listener()
        self.awaited = bool(self._leaving or self._listeners)

    def forget(self) -> None:
        """Everybody was lost, and those who were leaving with them."""
        self._leaving.clear()

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
