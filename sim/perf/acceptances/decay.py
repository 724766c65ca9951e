"""Two figures: the chance of the first draft, and the factor from each position to the next,
a_i = first · decay^(i − 1). `sim.perf.speculation.fitting.fit_decay` fits them to measured mean
acceptance lengths; on 48 lengths that vLLM measured with MTP and EAGLE-3 (InferenceX
`golden_al_distribution`) those that were not fitted come out within 5 %."""

from __future__ import annotations

import numpy as np

from sim.perf.acceptances import Array, Chance
from sim.settings import settings


@settings
class Decay:
    """Geometric decay with position."""

    first: Chance
    """Chance that the first draft is accepted."""
    decay: Chance
    """From a position to the next; 1 = none."""

    def rates(self, drafts: int) -> Array:
        """first · decay^(i − 1)."""
        return np.asarray(self.first * self.decay ** np.arange(drafts, dtype=np.float64))

    def assumptions(self) -> list[dict[str, str]]:
        """None: both are given."""
        return []
