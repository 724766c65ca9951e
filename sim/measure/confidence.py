"""How sure a mean over time is: Student's interval, from means of batches where there are many.

Values that follow each other in time are alike, so an interval from many of them one by one is too
narrow. Means of long batches are less so (Law, Simulation Modeling and Analysis, §9.5.3).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from sim.measure.ledger import Floats

LEVEL = 0.95
BATCHES = 10
"""Batches of equal size; fewer values than two a batch are taken one by one."""


@dataclass(frozen=True, slots=True)
class Interval:
    """The mean of values in order of time, and where the true one lies at `LEVEL`."""

    mean: float
    half: float
    rule: str

    @classmethod
    def of(cls, values: Floats) -> Interval | None:
        """None for fewer than three values."""
        if len(values) < 3:
            return None
        from scipy.special import stdtrit

        many = len(values) >= 2 * BATCHES
        size = len(values) // BATCHES if many else 1
        kept = values[-size * BATCHES :] if many else values
        means = kept.reshape(-1, size).mean(axis=1)
        quantile = float(stdtrit(len(means) - 1, (1.0 + LEVEL) / 2.0))
        half = quantile * float(means.std(ddof=1)) / np.sqrt(len(means))
        rule = (
            f"Student's interval from {BATCHES} batches of {size} steps"
            if many
            else f"Student's interval from {len(means)} steps"
        )
        return cls(float(values.mean()), float(half), rule)
