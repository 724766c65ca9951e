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
    done: Callable[[float], None]
    asked_s: float


@dataclass(eq=False, slots=True)
class Workers:
    """So many jobs at once, the others in line."""

    clock: Clock
    count: int | None
    """None: as many as there are jobs."""
    busy: int = 0
    _line: deque[_Job] = field(default_factory=deque)

    def do(self, seconds: Callable[[], float], done: Callable[[float], None]) -> None:
        """Work for `seconds()`, asked when a worker begins, then call `done` with the seconds that
        the job stood in line."""
        self._line.append(_Job(seconds, done, self.clock.now))
        self._begin()

    def _begin(self) -> None:
        while self._line and (self.count is None or self.busy < self.count):
            job = self._line.popleft()
            self.busy += 1
            now = self.clock.now
            event = self.clock.at(now + job.seconds(), ARRIVAL)
            if event.callbacks is not None:
                event.callbacks.append(partial(self._ended, job, now - job.asked_s))

    def _ended(self, job: _Job, waited_s: float, event: object) -> None:
        self.busy -= 1
        self._begin()
        job.done(waited_s)
