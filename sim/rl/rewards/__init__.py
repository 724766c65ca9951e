"""Who scores samples, and how long that takes; one way a file."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Protocol

from sim.clock import Clock
from sim.perf.task import PriceTask
from sim.perf.timers import Timer
from sim.plugins import policy
from sim.rl.samples import Sample
from sim.rng import Draws


@dataclass(frozen=True, slots=True)
class RewardServices:
    """What scoring may use."""

    clock: Clock
    draws: Draws
    """Its own random numbers, by sample."""
    tasks: tuple[PriceTask, ...] = ()
    """Of its engines, where it has GPUs."""
    timer: Timer | None = None


class RunningReward(Protocol):
    """Scoring at work."""

    def score(self, sample: Sample, done: Callable[[Sample, bool], None]) -> None:
        """Begin to score a sample whose last token is there; `done(sample, kept)` is called once,
        at once or later; not kept: the sample is given up (its scoring ended without a result)."""


class Reward(Protocol):
    """What every file here provides: settings that start scoring."""

    @property
    def gpus(self) -> int:
        """GPUs that it has for itself."""

    def start(self, services: RewardServices) -> RunningReward:
        """Scoring, with nothing to do yet."""

    def assumptions(self) -> list[dict[str, str]]:
        """Figures that it leans on: what, value, source."""


RewardSetting = Annotated[Reward, policy("sim.rl.rewards")]
"""The annotation of a setting that names one."""
