"""A rule on CPUs: exact match, a regular expression, a mathematical verifier."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from heapq import heappush, heapreplace

from sim.clock import ARRIVAL, Clock
from sim.rl.rewards import RewardServices
from sim.rl.samples import Sample
from sim.settings import settings
from sim.units import Duration, PositiveInt


@settings
class Rule:
    """The same time for every sample, on a number of workers that take samples in order."""

    seconds: Duration = 0.0
    """Of one sample on one worker."""
    workers: PositiveInt = 64
    """Samples that are scored at once. assumed: half of the cores of one host."""

    @property
    def gpus(self) -> int:
        """None."""
        return 0

    def start(self, services: RewardServices) -> _Workers:
        """All workers free."""
        return _Workers(services.clock, self.seconds, self.workers)

    def assumptions(self) -> list[dict[str, str]]:
        """None: all is given."""
        return []


@dataclass(eq=False, slots=True)
class _Workers:
    clock: Clock
    seconds: float
    workers: int
    _free_at: list[float] = field(default_factory=list)
    """Heap: when each worker that has worked is free."""

    def score(self, sample: Sample, done: Callable[[Sample, bool], None]) -> None:
        if not self.seconds:
            done(sample, True)
            return
        now = self.clock.now
        if len(self._free_at) < self.workers and (not self._free_at or self._free_at[0] > now):
            end = now + self.seconds
            heappush(self._free_at, end)
        else:
            end = max(now, self._free_at[0]) + self.seconds
            heapreplace(self._free_at, end)
        event = self.clock.at(end, ARRIVAL)
        if event.callbacks is not None:
            event.callbacks.append(lambda _: done(sample, True))
