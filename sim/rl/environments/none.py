"""One turn: a prompt, an answer."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sim.rl.environments import EnvironmentServices, Turn
from sim.rl.samples import Sample
from sim.rng import Draws
from sim.settings import settings


class _OneTurn:
    sessions = False

    def begin(self, sample: Sample) -> Turn:
        return Turn(sample.prompt_tokens, sample.response_tokens)

    def go_on(self, sample: Sample, proceed: Callable[[Sample, Turn], None]) -> bool:
        return False


@settings
class NoEnvironment:
    """No tools."""

    def start(self, services: EnvironmentServices) -> _OneTurn:
        """It keeps no state."""
        return _OneTurn()

    def added_tokens(
        self,
        draws: Draws,
        samples: NDArray[np.int64],
        response_tokens: NDArray[np.int64],
        base: Path | None,
    ) -> NDArray[np.int64]:
        """None."""
        return np.zeros_like(samples)

    def assumptions(self) -> list[dict[str, str]]:
        """None."""
        return []
