"""KV room for sequences that are still elsewhere: asked for in order, granted before bytes move."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from sim.engine.orders import Line
from sim.engine.sequence import Sequence
from sim.kvcache.cache import KvCache


@dataclass(frozen=True, eq=False, slots=True)
class Reservation:
    """KV units asked for by a sequence."""

    sequence: Sequence
    units: int
    granted: Callable[[], None]
    lost: Callable[[], None]
    """Told when a fault takes the room, or the asking for it."""
    whole: bool
    """The units cover the whole declared length."""


class Reservations:
    """Who has asked one rank for room, and who has it."""

    __slots__ = ("_cache", "_waiting", "asked", "promised")

    def __init__(self, cache: KvCache, waiting: Line) -> None:
        self.asked: deque[Reservation] = deque()
        self.promised: dict[Sequence, Reservation] = {}
        """Granted, and on their way."""
        self._cache = cache
        self._waiting = waiting

    def ask(self, reservation: Reservation) -> None:
        """Granted at once or, in order, when there is room."""
        self.asked.append(reservation)
        self.grant()

    def grant(self) -> None:
        """Give units to those who asked, as long as nobody who was preempted waits for them."""
        while self.asked and not self._waiting:
            first = self.asked[0]
            if not self._cache.take(first.units):
                return
            self.asked.popleft()
            self.promised[first.sequence] = first
            first.granted()

    def cancel(self, sequence: Sequence) -> None:
        """Give back what was reserved for, or forget the asking of, one that does not come."""
        promise = self.promised.pop(sequence, None)
        if promise is not None:
            self._cache.give(promise.units)
            self.grant()
        else:
            self.asked = deque(r for r in self.asked if r.sequence is not sequence)

    def settle(self, sequence: Sequence) -> None:
        """The sequence is here: the units are its own."""
        promise = self.promised.pop(sequence)
        sequence.units, sequence.reserved = promise.units, promise.whole

    def drop_all(self) -> list[Reservation]:
        """Everything is gone (a fault): who had room, and who asked for it."""
        dropped = [*self.promised.values(), *self.asked]
        self.promised.clear()
        self.asked.clear()
        return dropped
