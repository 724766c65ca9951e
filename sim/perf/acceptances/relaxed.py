"""Relaxed acceptance: a draft also counts when it is among the target's likeliest tokens, not only
when it is the one (TensorRT-LLM tech blog 2, for the thinking tokens of DeepSeek-R1).

What would be rejected is accepted with one chance more at every position: 1 − a' = s · (1 − a). The
share s is such that the acceptance length at a stated draft length grows by the factor measured.
"""

from __future__ import annotations

from typing import Annotated

import numpy as np
from pydantic import Field

from sim.perf.acceptances import AcceptanceSetting, Array
from sim.settings import settings
from sim.units import PositiveInt

HALVINGS = 60
"""Of the interval of s; beyond the precision of a float."""


@settings
class Relaxed:
    """Another law, relaxed."""

    of: AcceptanceSetting
    """The strict law."""
    multiplier: Annotated[float, Field(ge=1)] = 1.1
    """Acceptance length over that of the strict law, at `draft_tokens`."""
    draft_tokens: PositiveInt = 3
    """Draft length at which the multiplier was measured."""
    source: str = "TensorRT-LLM tech blogs 1 and 2: about 10 % for MTP on DeepSeek-R1, 3 drafts"
    """Where the multiplier is from."""

    def __post_init__(self) -> None:
        if self._length(0.0) < self._wanted() * (1 - 1e-12):
            raise ValueError(
                f"multiplier {self.multiplier:g} makes {self.draft_tokens} drafts give "
                f"{self._wanted():.3g} tokens, more than there are; write a smaller one"
            )

    def rates(self, drafts: int) -> Array:
        """1 − s · (1 − a)."""
        return np.asarray(1.0 - self._share() * (1.0 - self.of.rates(drafts)))

    def _length(self, share: float) -> float:
        rates = 1.0 - share * (1.0 - self.of.rates(self.draft_tokens))
        return 1.0 + float(np.cumprod(rates).sum())

    def _wanted(self) -> float:
        return self.multiplier * self._length(1.0)

    def _share(self) -> float:
        """By halving: the length falls as s grows."""
        low, high, wanted = 0.0, 1.0, self._wanted()
        for _ in range(HALVINGS):
            middle = 0.5 * (low + high)
            if self._length(middle) > wanted:
                low = middle
            else:
                high = middle
        return 0.5 * (low + high)

    def assumptions(self) -> list[dict[str, str]]:
        """The multiplier, and those of the strict law."""
        row = {"what": "relaxed acceptance", "value": f"× {self.multiplier:g}"}
        return [row | {"source": self.source}, *self.of.assumptions()]
