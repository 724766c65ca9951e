"""Attention of a prompt and of decodes in one kernel, which takes other times than two.

A kernel for queries of any length gives every (sequence, query head, tile of queries) a thread
block. A decode then has one query in a tile of many, and the query heads that share a KV head each
read it again: it takes longer than in a kernel for decodes alone, which packs them. Decodes and
prompt fill each other's idle processors: the law of `sim.perf.streams.Streams`. Every decode also
has an empty tile for each tile of the prompt, which costs a little.
"""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class MixedAttention:
    """Seconds of n ≥ 1 decodes with c keys in all, beside p ≥ 1 prompt tokens that take P alone:
    max(P + D · decode_share[n], D + P · prompt_share[p]) + n · p · tile_s,
    D = level[n, k] + (c/n − knots[k]) · slope[n, k], with knots[k] the last one up to c/n."""

    knots: Array
    """(k,) keys per decode, rising from 0."""
    level: Array
    """(n, k) seconds of the decodes in the mixed kernel at the knots."""
    slope: Array
    """(n, k) seconds per key of each decode, beyond the knot."""
    decode_share: Array
    """(n,) share of their seconds that decodes add to a prompt which outlasts them."""
    prompt_share: Array
    """(p,) share of its seconds that a prompt adds to decodes which outlast it."""
    tile_s: float
    """Of the empty tiles, per decode and prompt token."""
    lists: tuple[Any, ...] = field(init=False)

    def __post_init__(self) -> None:
        tables = (self.knots, self.level, self.slope, self.decode_share, self.prompt_share)
        object.__setattr__(self, "lists", tuple(t.tolist() for t in tables))

    def times(self, layers: float) -> MixedAttention:
        """Of several layers."""
        level, slope = layers * self.level, layers * self.slope
        shares = (self.decode_share, self.prompt_share)
        return MixedAttention(self.knots, level, slope, *shares, layers * self.tile_s)

    def seconds(self, n: int, context: int, p: int, prompt_s: float) -> float:
        """The scalar face."""
        knots, level, slope, decode_share, prompt_share = self.lists
        each = context / n
        k = bisect_right(knots, each) - 1
        decode_s: float = level[n][k] + (each - knots[k]) * slope[n][k]
        outlasted: float = prompt_s + decode_s * decode_share[n]
        outlasting: float = decode_s + prompt_s * prompt_share[p]
        longer = outlasted if outlasted > outlasting else outlasting
        return longer + n * p * self.tile_s

    def array(self, n: Any, context: Any, p: Any, prompt_s: Array) -> Array:
        """The array face; of no meaning where n or p is 0."""
        each = context / np.maximum(n, 1)
        k = np.searchsorted(self.knots, each, side="right") - 1
        decode_s = self.level[n, k] + (each - self.knots[k]) * self.slope[n, k]
        outlasted = prompt_s + decode_s * self.decode_share[n]
        outlasting = decode_s + prompt_s * self.prompt_share[p]
        out: Array = np.maximum(outlasted, outlasting) + n * p * self.tile_s
        return out
