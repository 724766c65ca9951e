"""A rule on CPUs: exact match, a regular expression, a mathematical verifier."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from sim.rl.durations import BySample, Durations, DurationsSetting
from sim.rl.rewards import RewardServices
from sim.rl.samples import Sample
from sim.rl.workers import Workers
from sim.settings import settings
from sim.units import PositiveInt


@settings
class Rule:
    """A time for every sample, on a number of workers that take samples in order."""

    seconds: DurationsSetting = Durations(mean_s=0.0)
    """Of one sample on one worker."""
    workers: PositiveInt = 64
    """Samples that are scored at once. assumed: half of the cores of one host."""

    @property
    def served(self) -> None:
        """No model."""
        return

    def start(self, services: RewardServices) -> _Rule:
        """All workers free."""
        seconds = self.seconds.drawn(services.draws)
        return _Rule(seconds, Workers(services.clock, self.workers), self.seconds.mean_s == 0.0)

    def assumptions(self) -> list[dict[str, str]]:
        """None: all is given."""
        return []


@dataclass(eq=False, slots=True)
class _Rule:
    seconds: BySample
    workers: Workers
    free: bool

    def score(self, sample: Sample, done: Callable[[Sample, bool], None]) -> None:
        if self.free:
            done(sample, True)
            return

        def scored(waited_s: float) -> None:
            sample.reward_wait_s = waited_s
            done(sample, True)

        self.workers.do(lambda: self.seconds.of(sample), scored)
