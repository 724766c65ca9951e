"""Dynamic sampling (DAPO, arXiv 2503.14476): groups whose samples are all right or all wrong have
no advantage, and are dropped; the loop samples further prompts until there are enough.

How hard prompts are is a beta law of the chance that a sample is right.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import numpy as np
from pydantic import Field
from scipy.special import betaincinv

from sim.rl.durations import BySample
from sim.rl.samples import Group
from sim.rng import Draws
from sim.settings import settings

Positive = Annotated[float, Field(gt=0)]


@settings
class Dynamic:
    """Keep groups of mixed success."""

    mean_pass_rate: Annotated[float, Field(gt=0, lt=1)] = 0.5
    """Mean chance that a sample is right."""
    concentration: Positive = 1.0
    """Sum of the beta law's parameters: small, and most prompts are nearly always or nearly never
    solved; large, and all are alike. assumed: 1, which puts prompts at both ends."""

    def start(self, draws: Draws) -> _Dynamic:
        """Nothing judged yet."""
        return _Dynamic(self, draws, BySample(draws.uniform))

    def assumptions(self) -> list[dict[str, str]]:
        """How hard prompts are."""
        return [
            {
                "what": "pass rates of prompts",
                "value": f"beta law, mean {self.mean_pass_rate:g}, a + b {self.concentration:g}",
                "source": "assumed: not measured on any set of prompts",
            }
        ]

    def pass_rate(self, uniform: float) -> float:
        """Chance of a prompt at a quantile of the law."""
        a = self.mean_pass_rate * self.concentration
        return float(betaincinv(a, self.concentration - a, uniform))


@dataclass(eq=False, slots=True)
class _Dynamic:
    settings: Dynamic
    draws: Draws
    luck: BySample

    def keeps(self, group: Group) -> bool:
        level = float(self.draws.uniform(np.int64(group.prompt), 1_000_000))
        rate = self.settings.pass_rate(level)
        right = [self.luck.of(sample) < rate for sample in group.kept]
        return any(right) and not all(right)
