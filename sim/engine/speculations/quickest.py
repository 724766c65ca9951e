"""The length with the best speed-up at the present batch, by the engine's own price list; none
where plain decoding is quickest. A bound for what an engine could reach that knows its own speed
and the law of acceptance; `draft_tokens: auto` stands for it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from pydantic import Field

from sim.engine.speculations import DraftServices, Situation
from sim.settings import settings


@settings
class Quickest:
    """The best priced length."""

    tolerance: Annotated[float, Field(ge=0)] = 0.02
    """The length stays while the best one is less than this share quicker."""
    within: Annotated[float, Field(ge=0)] = 0.125
    """Prices are looked at anew when batch or context have changed by more than this share."""

    def start(self, services: DraftServices) -> _Quickest:
        """Knows no price yet."""
        return _Quickest(self, services)


@dataclass(eq=False, slots=True)
class _Quickest:
    plan: Quickest
    services: DraftServices
    sequences: int = 0
    context_tokens: int = 0
    last: int = -1

    def length(self, now: Situation) -> int:
        if self.last >= 0 and self._near(now):
            return self.last
        self.sequences, self.context_tokens = now.sequences, now.context_tokens
        gains = [1.0, *(self.services.gain(now, k) for k in range(1, self.services.most + 1))]
        best = max(range(len(gains)), key=gains.__getitem__)
        if self.last < 0 or gains[best] > gains[self.last] * (1.0 + self.plan.tolerance):
            self.last = best
        return self.last

    def _near(self, now: Situation) -> bool:
        within = self.plan.within
        return (
            abs(now.sequences - self.sequences) <= within * self.sequences
            and abs(now.context_tokens - self.context_tokens) <= within * self.context_tokens
        )
