"""Every request has the same length."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sim.rng import Draws
from sim.settings import settings
from sim.units import PositiveInt


@settings
class Constant:
    """`tokens`, always."""

    tokens: PositiveInt
    """Tokens of every request."""

    def sample(
        self, draws: Draws, numbers: NDArray[np.int64], base: Path | None = None
    ) -> NDArray[np.int64]:
        """(n,) times `tokens`; nothing is drawn."""
        return np.full(len(numbers), self.tokens, dtype=np.int64)
