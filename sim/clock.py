"""SimPy's environment with two additions: events at an absolute time, and an order within it.

Simulated time is float seconds. A wait for n steps must end at exactly the float that n single
waits end at, so waits are scheduled at absolute times (`now + delay` would round differently).
Within one instant, step ends come first, then flows, then arrivals, then decisions; ties inside a
band go by a number that the caller chooses (its engine, its flow), never by who was scheduled
first. This is what makes leaping and stepping agree.
"""

from __future__ import annotations

from heapq import heappop, heappush
from operator import attrgetter
from typing import Any

import simpy
from simpy.core import EmptySchedule
from simpy.events import Event

_BAND = 1 << 32
STEP_END, FLOW, ARRIVAL, DECIDE = (_BAND * i for i in (1, 2, 3, 4))
"""Bands of priority within one instant, in the order in which they are served. SimPy's own
events (process starts, `succeed`) have priorities 0 and 1 and come before all of them."""


class _Timed(Event):
    """An event that is sure to happen, as SimPy's own time-outs are."""

    def __init__(self, clock: Clock, value: Any) -> None:
        self.env = clock
        self.callbacks = []
        self._value = value
        self._ok = True


class Clock(simpy.Environment):
    """A SimPy environment whose events can be placed at an absolute time."""

    now = property(attrgetter("_now"), doc="Simulated time, seconds.")
    """SimPy's own is written in Python and takes twice as long."""

    def step(self) -> None:
        """Process the next event: SimPy's own without its provisions for `run(until)`.

        Raises EmptySchedule when there is none, and whatever a process fails with.
        """
        queue = self._queue
        if not queue:
            raise EmptySchedule
        self._now, _, _, event = heappop(queue)
        callbacks, event.callbacks = event.callbacks, None  # type: ignore[assignment]
        for callback in callbacks:
            callback(event)
        if not event._ok:
            raise event._value

    def at(self, time_s: float, order: int, value: Any = None) -> Event:
        """An event at `time_s` (not before now); `order` is a band plus a number within it."""
        event = _Timed(self, value)
        entry: Any = (time_s, order, next(self._eid), event)
        heappush(self._queue, entry)
        return event

    def retime(self, waited: Event, time_s: float, order: int) -> Event:
        """Whoever waits for `waited` waits for the returned event instead. The old one stays
        behind with nobody listening, so the end of a run is never `env.now`."""
        fresh = self.at(time_s, order)
        if waited.callbacks is not None:
            fresh.callbacks, waited.callbacks = waited.callbacks, []
        return fresh

    def instant_is_open(self) -> bool:
        """Whether something else is still to happen at this very time."""
        queue = self._queue
        return bool(queue) and queue[0][0] == self._now

    def would_be_next(self, order: int) -> bool:
        """Whether an event placed now, with this order, would be the next one."""
        queue = self._queue
        return not queue or queue[0][0] > self._now or queue[0][1] > order
