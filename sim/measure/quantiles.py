"""Means and quantiles, of plain samples and of samples that stand for many.

Plain samples: numpy's linear interpolation between order statistics (Hyndman and Fan, type 7).
Weighted samples: the inverted distribution function, the smallest value v for which the samples
≤ v hold at least the share q of the weight (type 1). It equals the type 1 quantile of the samples
written out one by one, and never invents a value.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

LEVELS: dict[str, float] = {"p50": 0.50, "p90": 0.90, "p95": 0.95, "p99": 0.99}
"""Quantiles of every latency, by their name in the summary."""

Stats = dict[str, float | None]


def stats(values: NDArray[np.float64]) -> Stats:
    """Mean and quantiles of `values` without its NaNs; all None when nothing is left."""
    known = values[~np.isnan(values)]
    if len(known) == 0:
        return dict.fromkeys(("mean", *LEVELS))
    levels = np.quantile(known, list(LEVELS.values()))
    return _named(float(known.mean()), levels)


@dataclass(frozen=True, slots=True)
class Weighted:
    """Samples in ascending order, each standing for a whole number of equal ones."""

    values: NDArray[np.float64]
    weights: NDArray[np.int64]
    total: float
    """Sum over all samples."""

    @classmethod
    def of(cls, values: NDArray[np.float64], weights: NDArray[np.int64]) -> Weighted:
        """Sort the samples and drop those of weight zero."""
        some = weights > 0
        values, weights = values[some], weights[some]
        total = float((values * weights).sum())
        order = np.argsort(values)  # equal values may change places: nothing depends on it
        return cls(values[order], weights[order], total)

    @property
    def count(self) -> int:
        """How many samples are stood for."""
        return int(self.weights.sum())

    def quantiles(self, levels: NDArray[np.float64] | list[float]) -> NDArray[np.float64]:
        """Inverted distribution function at `levels` (0 < q ≤ 1). Needs at least one sample."""
        reached: NDArray[np.int64] = np.cumsum(self.weights)
        rank = np.maximum(np.ceil(np.asarray(levels) * int(reached[-1]) - 1e-9), 1.0)
        found: NDArray[Any] = self.values[np.searchsorted(reached, rank, side="left")]
        return found

    def stats(self) -> Stats:
        """Mean and quantiles; all None when there is no sample."""
        if len(self.values) == 0:
            return dict.fromkeys(("mean", *LEVELS))
        levels = self.quantiles(list(LEVELS.values()))
        return _named(self.total / self.count, levels)


def _named(mean: float, levels: NDArray[np.float64]) -> Stats:
    named: Stats = {"mean": mean}
    return named | dict(zip(LEVELS, map(float, levels), strict=True))
