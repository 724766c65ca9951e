"""A chance for every position, as engines log them (`acceptance at token 0, 1, …` of vLLM, given as
chances once all earlier drafts were accepted)."""

from __future__ import annotations

from typing import Annotated

import numpy as np
from pydantic import Field

from sim.perf.acceptances import Array, Chance
from sim.settings import settings


@settings
class ByPosition:
    """One chance a position."""

    at: Annotated[tuple[Chance, ...], Field(min_length=1)]
    """Chance that draft 1, 2, … is accepted, given that all before it were. Beyond the list: the
    last."""

    def rates(self, drafts: int) -> Array:
        """As listed."""
        where = np.minimum(np.arange(drafts), len(self.at) - 1)
        return np.array(self.at)[where]

    def assumptions(self) -> list[dict[str, str]]:
        """None: all is given."""
        return []
