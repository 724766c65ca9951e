"""Laws of prompt and output lengths: one file per law, named by the file."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from sim.rng import Draws

OF_A_NUMBER = "{{constant: {{tokens: {}}}}}"
"""How one length for all is written."""


class Lengths(Protocol):
    """What a file of this folder offers."""

    def sample(
        self, draws: Draws, numbers: NDArray[np.int64], base: Path | None = None
    ) -> NDArray[np.int64]:
        """(n,) tokens, at least 1, for the requests called `numbers`.

        A request's length depends on the seed, the stream and its number alone, not on which
        others are asked for. `base` is the scenario's folder, for laws that read a file.
        """
