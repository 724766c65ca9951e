"""Amounts that accrue over spans of time, summed by bins of time."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from sim.measure.ledger import Floats, Ints


def edges_of(end_s: float, bins: int = 240, start_s: float = 0.0) -> Floats:
    """Edges of `bins` equal bins from `start_s` to `end_s`."""
    return np.linspace(start_s, max(end_s, start_s + 1e-9), bins + 1)


def spread(
    start_s: Floats,
    end_s: Floats,
    amount: NDArray[np.float64] | NDArray[np.int64],
    edges: Floats,
    group: Ints | None = None,
    groups: int = 1,
) -> Floats:
    """Share out each amount evenly over its span; sums of shape (groups, bins).

    `edges` are equally spaced. What lies outside of them is left out; a span of no length counts
    where it ends. Only spans that cross an edge are written out bin by bin.
    """
    bins = len(edges) - 1
    width = (edges[-1] - edges[0]) / bins
    group = np.zeros(len(start_s), dtype=np.int64) if group is None else group
    inside = (end_s >= edges[0]) & (start_s <= edges[-1])
    start, end, amount, group = start_s[inside], end_s[inside], amount[inside], group[inside]
    low = np.clip(((start - edges[0]) / width).astype(np.int64), 0, bins - 1)
    high = np.clip(((end - edges[0]) / width).astype(np.int64), 0, bins - 1)
    count = high - low + 1
    row = np.repeat(np.arange(len(start)), count)
    bin_ = np.arange(len(row)) - np.repeat(np.cumsum(count) - count, count) + low[row]
    left, right = np.maximum(start[row], edges[bin_]), np.minimum(end[row], edges[bin_ + 1])
    whole = (end - start)[row]
    share = np.divide(right - left, whole, out=np.ones(len(row)), where=whole > 0)
    weights = np.clip(share, 0.0, 1.0) * amount[row]
    total = np.bincount(group[row] * bins + bin_, weights=weights, minlength=groups * bins)
    return np.asarray(total.reshape(groups, bins))
