"""Lengths spread evenly between two bounds."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sim.rng import Draws
from sim.settings import settings
from sim.units import PositiveInt


@settings
class Uniform:
    """Every whole number from `min_tokens` to `max_tokens`, both included, is as likely."""

    min_tokens: PositiveInt
    """Shortest length."""
    max_tokens: PositiveInt
    """Longest length."""

    def __post_init__(self) -> None:
        if self.max_tokens < self.min_tokens:
            raise ValueError(
                f"max_tokens {self.max_tokens} is below min_tokens {self.min_tokens}; swap them"
            )

    def sample(
        self, draws: Draws, numbers: NDArray[np.int64], base: Path | None = None
    ) -> NDArray[np.int64]:
        """(n,) independent tokens."""
        width = self.max_tokens - self.min_tokens + 1
        return self.min_tokens + np.floor(draws.uniform(numbers) * width).astype(np.int64)
