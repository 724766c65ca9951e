"""Whose turn it is at the first stage of a pipeline, and among how many slots newcomers are shared.

The slot that has waited longest goes first, so nobody who decodes is passed by. A slot without
members is opened only while the stages have time for one more pass: k slots that need b seconds
each in their slowest stage keep a pipeline full whose passes take L seconds if k · b ≥ L. One slot
more would then only make all of them turn less often, so newcomers join those that turn already.
"""

from __future__ import annotations

from collections.abc import Sequence as Many
from operator import attrgetter

from simpy.events import Event

from sim.clock import DECIDE, Clock
from sim.engine.flight import NOT_ASKED, Flight
from sim.engine.pacer import Pacer

_ASKED = attrgetter("asked_s")
ROUNDING = 1e-9
"""Sums of the seconds of equal stages may differ by this share."""


class Turns:
    """The slots of one engine before its first stage."""

    __slots__ = ("_clock", "_flights", "_last", "_pacer")

    def __init__(self, clock: Clock, pacer: Pacer, flights: Many[Flight]) -> None:
        self._clock = clock
        self._pacer = pacer
        self._flights = flights
        self._last = max(f.order for f in flights)

    def ahead(self, flight: Flight) -> Event | None:
        """What a slot has to wait for before its turn; None when it is its turn."""
        clock = self._clock
        now, free_s = clock.now, self._pacer.free_s
        if flight.asked_s == NOT_ASKED:
            flight.asked_s = now
        if free_s > now:
            flight.wake = clock.at(free_s, DECIDE + flight.order)
            return flight.wake
        first = min(self._flights, key=_ASKED)  # of those who asked at once, the first slot
        if first is not flight:
            # that slot waits for this instant too: behind all of them, look again
            flight.wake = clock.at(now, DECIDE + self._last)
            return flight.wake
        flight.asked_s = NOT_ASKED
        return None

    def hurry(self) -> None:
        """The stages are free all of a sudden: those who wait for the first look again now."""
        for flight in self._flights:
            if flight.asked_s != NOT_ASKED:
                flight.retime(self._clock, self._clock.now, DECIDE + flight.order)

    def admits(self, flight: Flight) -> bool:
        """Whether a slot may begin a pass, and with that, among how many slots all who are here
        are shared now."""
        if len(self._flights) == 1:
            return True
        used = [f for f in self._flights if f.in_use]
        sharers = len(self._flights)
        if _full(used):
            if not flight.in_use:
                return False
            sharers = len(used)
        for rank, _ in flight.seats:
            rank.sharers = sharers
        return True


def _full(used: Many[Flight]) -> bool:
    """Whether these slots keep the slowest stage busy."""
    longest_s = max((f.through_s for f in used), default=float("inf"))
    return sum(f.slowest_s for f in used) >= longest_s * (1.0 - ROUNDING)
