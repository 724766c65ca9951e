"""Every request has the same length."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from sim.rng import Draws
from sim.settings import settings


@settings
class Constant:
    """`tokens`, always."""

    tokens: Annotated[int, Field(ge=1)]
    """Tokens of every request."""

    def sample(
        self, draws: Draws, numbers: NDArray[np.int64], base: Path | None = None
    ) -> NDArray[np.int64]:
        """(n,) times `tokens`; nothing is drawn."""
        return np.full(len(numbers), self.tokens, dtype=np.int64)
