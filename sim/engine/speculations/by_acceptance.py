"""As many drafts as are accepted, and one more to find out: SGLang's adaptive speculation
(docs.sglang.io, adaptive_speculative_decoding: a moving mean of accepted drafts, rounded, plus
one)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from pydantic import Field

from sim.engine.speculations import DraftServices, Situation
from sim.settings import settings
from sim.units import PositiveInt


@settings
class ByAcceptance:
    """Follows what was accepted."""

    weight: Annotated[float, Field(gt=0, le=1)] = 0.2
    """Of the last steps in the moving mean. assumed: SGLang's default."""
    every: PositiveInt = 32
    """Verify steps after which the mean moves. assumed."""
    off_above: PositiveInt | None = None
    """Most sequences on a rank that are drafted for; None = any."""

    def start(self, services: DraftServices) -> _ByAcceptance:
        """Begins with the longest draft."""
        return _ByAcceptance(self, services.most, float(services.most - 1))


@dataclass(eq=False, slots=True)
class _ByAcceptance:
    plan: ByAcceptance
    most: int
    mean: float
    steps: int = 0
    accepted: float = 0.0

    def length(self, now: Situation) -> int:
        if now.drafts:
            self.steps += now.steps
            self.accepted += now.steps * now.accepted
        if self.steps >= self.plan.every:
            self.mean += self.plan.weight * (self.accepted / self.steps - self.mean)
            self.steps, self.accepted = 0, 0.0
        if self.plan.off_above is not None and now.sequences > self.plan.off_above:
            return 0
        return min(max(round(self.mean) + 1, 1), self.most)
