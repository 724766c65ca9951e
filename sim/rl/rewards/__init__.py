"""Who scores samples, and how long that takes; one way a file."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Protocol

import numpy as np
from numpy.typing import NDArray

from sim.clock import Clock
from sim.engine.settings import EngineSettings
from sim.perf.layouts import Layout
from sim.perf.task import Precision, PriceTask
from sim.perf.timers import Timer
from sim.plugins import policy
from sim.rl.samples import Sample
from sim.rng import Draws
from sim.workload.lengths import Lengths

Ints = NDArray[np.int64]

REWARD = "rl.reward"
"""Stream of the draws of scoring."""


@dataclass(frozen=True, slots=True)
class Served:
    """A model that scores, as a scenario asks for it."""

    model: str
    """Of the catalog, or the path of a config.json."""
    engines: int
    gpu: str | None
    layout: Layout
    precision: Precision
    timer: Timer
    engine: EngineSettings
    instruction_tokens: int = 0
    """Read beside every sample."""
    output_tokens: Lengths | None = None
    """Law of what is written for a sample."""

    def added_tokens(self, draws: Draws, samples: Ints, base: Path | None) -> Ints:
        """Tokens that the model reads and writes beside samples (by their numbers for draws)."""
        read = np.full_like(samples, self.instruction_tokens)
        if self.output_tokens is None:
            return read
        written = self.output_tokens.sample(draws, samples.reshape(-1), base)
        return np.asarray(read + written.reshape(samples.shape))


@dataclass(frozen=True, slots=True)
class Scorers:
    """Its engines, worked out and placed."""

    tasks: tuple[PriceTask, ...]
    """What the timer prices, by engine."""
    timer: Timer
    devices: tuple[tuple[int, ...], ...]
    """By engine."""
    longest_tokens: int
    """Longest sequence that an engine holds by itself."""
    kv_tokens: int
    """Tokens that an engine's KV pool holds."""

    @property
    def gpus(self) -> int:
        """GPUs of all of them."""
        return sum(len(mine) for mine in self.devices)


@dataclass(frozen=True, slots=True)
class RewardServices:
    """What scoring may use."""

    clock: Clock
    draws: Draws
    """Its own random numbers, by sample."""
    scorers: Scorers | None = None
    """Where a model scores."""
    base: Path | None = None
    """The scenario's folder, for laws that read a file."""


class RunningReward(Protocol):
    """Scoring at work."""

    def score(self, sample: Sample, done: Callable[[Sample, bool], None]) -> None:
        """Begin to score a sample whose last token is there; `done(sample, kept)` is called once,
        at once or later; not kept: the sample is given up (its scoring ended without a result)."""


class Reward(Protocol):
    """What every file here provides: settings that start scoring."""

    @property
    def served(self) -> Served | None:
        """The model that it serves on GPUs of its own, if it does."""

    def start(self, services: RewardServices) -> RunningReward:
        """Scoring, with nothing to do yet."""

    def assumptions(self) -> list[dict[str, str]]:
        """Figures that it leans on: what, value, source."""


RewardSetting = Annotated[Reward, policy("sim.rl.rewards")]
"""The annotation of a setting that names one."""
