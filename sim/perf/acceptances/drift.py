"""A draft that falls behind: the target is trained on and the draft is not, so that its chances
shrink with every version between them, a' = a · max(floor, per_version^lag).

How quickly is not published. What is (arXiv 2604.26779, EAGLE-3 for Qwen3-8B, three drafts): a
draft that was made from chat data and never adapted gives 2.88 and 2.40 tokens a step where one
made in the domain gives 3.32 and 2.77, which is 0.895 and 0.877 of the chance; adapted while the
policy is trained, it makes good part of it (generation 1.51 → 1.63 and 1.19 → 1.26 times as quick,
of 1.77 and 1.53), and one made in the domain gains nothing by it.
"""

from __future__ import annotations

from typing import Annotated

import numpy as np
from pydantic import Field

from sim.perf.acceptances import Acceptance, AcceptanceSetting, Array, Chance
from sim.settings import settings
from sim.units import NonNegativeInt, PositiveInt

FLOOR = 0.886
"""Mean of the two above."""


@settings
class Drift:
    """Another law, with a lag."""

    of: AcceptanceSetting
    """The law of a draft as old as its target."""
    per_version: Annotated[float, Field(gt=0, le=1)]
    """Factor of every chance for each version between them."""
    floor: Chance = FLOOR
    """Least factor: what a draft keeps that was never made for the policy."""
    refit_every: PositiveInt | None = None
    """Versions after which the draft is fitted to the target again; None = never."""
    lag: NonNegativeInt = 0
    """Versions between them where nobody says otherwise."""

    @property
    def factor(self) -> float:
        """Of every chance."""
        lag = self.lag if self.refit_every is None else self.lag % self.refit_every
        return float(max(self.floor, self.per_version**lag))

    @property
    def parts(self) -> tuple[tuple[float, Acceptance], ...]:
        """As those of its law, each with the lag."""
        found = getattr(self.of, "parts", None)
        if found is None:
            return ((1.0, self),)
        more = (self.per_version, self.floor, self.refit_every, self.lag)
        return tuple((share, _drifting(law, *more)) for share, law in found)

    def lagging(self, versions: int) -> Drift:
        """With so many versions between them."""
        return _drifting(self.of, self.per_version, self.floor, self.refit_every, versions)

    def rates(self, drafts: int) -> Array:
        """Those of the law, times the factor."""
        return np.asarray(self.factor * self.of.rates(drafts))

    def assumptions(self) -> list[dict[str, str]]:
        """How quickly the draft falls behind."""
        row = {"what": "acceptance per version of lag", "value": f"× {self.per_version:g}"}
        why = "assumed: no published curve; the floor is from arXiv 2604.26779"
        return [row | {"source": why}, *self.of.assumptions()]


def _drifting(
    law: Acceptance, per_version: float, floor: float, refit_every: int | None, lag: int
) -> Drift:
    return Drift(of=law, per_version=per_version, floor=floor, refit_every=refit_every, lag=lag)
