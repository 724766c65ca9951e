"""What happens between the turns of a sample, one kind a file."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Protocol

import numpy as np
from numpy.typing import NDArray

from sim.clock import Clock
from sim.plugins import policy
from sim.rl.samples import Sample
from sim.rng import Draws


@dataclass(frozen=True, slots=True)
class Turn:
    """What the policy is asked next of a sample."""

    new_tokens: int
    """Tokens that the environment adds behind what is there: the prompt, or a tool's answer."""
    response_tokens: int
    """What the policy answers in this turn."""


@dataclass(frozen=True, slots=True)
class EnvironmentServices:
    """What an environment may use."""

    clock: Clock
    draws: Draws
    """Its own random numbers, by sample."""
    base: Path | None = None
    """The scenario's folder, for laws that read a file."""


class RunningEnvironment(Protocol):
    """An environment at work."""

    @property
    def sessions(self) -> bool:
        """Whether turns follow each other, so that an answer is part of the next prompt."""

    def begin(self, sample: Sample) -> Turn:
        """The first turn."""

    def go_on(self, sample: Sample, proceed: Callable[[Sample, Turn], None]) -> bool:
        """A turn has ended: begin what comes before the next one, and call `proceed` when that is
        over. False, and no call, when it was the last turn."""


class Environment(Protocol):
    """What every file here provides: settings that start an environment."""

    def start(self, services: EnvironmentServices) -> RunningEnvironment:
        """An environment with nothing to do yet."""

    def added_tokens(
        self,
        draws: Draws,
        samples: NDArray[np.int64],
        response_tokens: NDArray[np.int64],
        base: Path | None,
    ) -> NDArray[np.int64]:
        """Tokens that it adds to samples in all, the prompt not counted. `samples` are their
        numbers for draws (`sim.rl.samples.PLACES`)."""

    def assumptions(self) -> list[dict[str, str]]:
        """Figures that it leans on: what, value, source."""


EnvironmentSetting = Annotated[Environment, policy("sim.rl.environments")]
"""The annotation of a setting that names one."""
