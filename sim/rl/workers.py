"""Workers on CPUs that take jobs in order: scorers, sandboxes, tools."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

from sim.clock import ARRIVAL, Clock


@dataclass(frozen=True, slots=True)
class _Job:
    seconds: Callable[[], float]
    done: Callable[[], None]


@dataclass(eq=False, slots=True)
class Workers:
    """So many jobs at once, the others in line."""

    clock: Clock
    count: int | None
    """None: as many as there are jobs."""
    busy: int = 0
    _line: deque[_Job] = field(default_factory=deque)

    def do(self, seconds: Callable[[], float], done: Callable[[], None]) -> None:
        """Work for `seconds()`, asked when a worker begins, then call `done`."""
        self._line.append(_Job(seconds, done))
        self._begin()

    def _begin(self) -> None:
        while self._line and (self.count is None or self.busy < self.count):
            job = self._line.popleft()
            self.busy += 1
            event = self.clock.at(self.clock.now + job.seconds(), ARRIVAL)
            if event.callbacks is not None:
                event.callbacks.append(partial(self._ended, job))

    def _ended(self, job: _Job, event: object) -> None:
        self.busy -= 1
        self._begin()
        job.done()
