"""Lengths whose logarithm is normal: many short ones and a long tail."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from sim.rng import Draws
from sim.settings import settings
from sim.units import PositiveInt

Positive = Annotated[float, Field(gt=0)]


@settings
class Lognormal:
    """exp(µ + σ·Z), Z standard normal, rounded and then clipped to the bounds.

    The mean exp(µ + σ²/2) is given, and one of: the median exp(µ), σ, or the coefficient of
    variation √(exp(σ²) − 1). They describe the law before clipping; bounds that bite move them.
    """

    mean_tokens: Positive
    """Mean length."""
    p50_tokens: Positive | None = None
    """Median length, below the mean."""
    sigma: Positive | None = None
    """Standard deviation of the length's natural logarithm."""
    cv: Positive | None = None
    """Standard deviation of the length over its mean."""
    min_tokens: PositiveInt = 1
    """Shorter lengths become this."""
    max_tokens: PositiveInt | None = None
    """Longer lengths become this; no bound when left out."""

    def __post_init__(self) -> None:
        given = [n for n in ("p50_tokens", "sigma", "cv") if getattr(self, n) is not None]
        if len(given) != 1:
            raise ValueError(
                f"{' and '.join(given) or 'none of them'} given; beside mean_tokens write exactly "
                "one of p50_tokens, sigma, cv"
            )
        if self.p50_tokens is not None and self.p50_tokens >= self.mean_tokens:
            raise ValueError(
                f"p50_tokens {self.p50_tokens} is not below mean_tokens {self.mean_tokens}, as a "
                "log-normal law has it; lower it or take another law"
            )
        if self.max_tokens is not None and self.max_tokens < self.min_tokens:
            raise ValueError(
                f"max_tokens {self.max_tokens} is below min_tokens {self.min_tokens}; swap them"
            )

    def shape(self) -> tuple[float, float]:
        """(µ, σ) of the logarithm."""
        if self.p50_tokens is not None:
            mu = math.log(self.p50_tokens)
            return mu, math.sqrt(2.0 * (math.log(self.mean_tokens) - mu))
        sigma = self.sigma
        if sigma is None:
            sigma = math.sqrt(math.log1p((self.cv or 0.0) ** 2))
        return math.log(self.mean_tokens) - sigma**2 / 2.0, sigma

    def sample(
        self, draws: Draws, numbers: NDArray[np.int64], base: Path | None = None
    ) -> NDArray[np.int64]:
        """(n,) independent tokens."""
        mu, sigma = self.shape()
        longest = 2.0**53 if self.max_tokens is None else float(self.max_tokens)
        exact = np.exp(np.minimum(mu + sigma * draws.normal(numbers), math.log(2.0**53)))
        return np.clip(np.rint(exact), self.min_tokens, longest).astype(np.int64)
