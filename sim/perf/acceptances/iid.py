"""One chance for every draft: a chain of k gives (1 − a^(k+1)) / (1 − a) tokens per verify step
(Leviathan et al., arXiv 2211.17192, equation 1)."""

from __future__ import annotations

import numpy as np

from sim.perf.acceptances import Array, Chance
from sim.settings import settings


@settings
class Iid:
    """The same at every position."""

    rate: Chance
    """Chance that a draft is accepted."""

    def rates(self, drafts: int) -> Array:
        """The rate, everywhere."""
        return np.full(drafts, self.rate)

    def assumptions(self) -> list[dict[str, str]]:
        """One rate for all positions."""
        why = "assumed: acceptance does not fall with position; measured curves do"
        return [{"what": "acceptance of drafts", "value": str(self.rate), "source": why}]
