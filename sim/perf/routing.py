"""How tokens spread over experts, and what the slowest of the expert-parallel ranks gets of them.

Expected values at compile time: computed at some 60 token counts and interpolated, so that a table
over 10⁵ counts costs milliseconds. Random laws use counter-based draws and are the same every time.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sim.errors import ScenarioError
from sim.rng import Draws

Array = NDArray[np.float64]

_LEVELS = 64
_SAMPLES = 8192
_COUNTS = 60


@dataclass(frozen=True, slots=True)
class RankLoad:
    """Expected load of the slowest rank, one number per token count; all arrays of one shape."""

    choices: Array
    """Token-expert pairs that it computes."""
    touched: Array
    """Its experts that at least one token chose."""
    largest: Array
    """Pairs of its busiest expert."""
    tokens: Array
    """Tokens with at least one choice on it."""


class Routing(Protocol):
    """A law of expert loads. `tokens` are the tokens of all ranks together in one step."""

    def slowest(self, tokens: ArrayLike, experts: int, top_k: int, ranks: int) -> RankLoad:
        """Expected load of the slowest of `ranks` ranks, each with experts ÷ ranks experts."""

    def levels(
        self, tokens: ArrayLike, experts: int, top_k: int, ranks: int, count: int = 8
    ) -> Array:
        """(count, tokens): the slowest rank's choices ÷ the mean rank's, at `count` equally likely
        levels in rising order. An engine draws one level per epoch of steps and keeps it."""


@dataclass(frozen=True, slots=True)
class Balanced:
    """Every expert gets as many tokens as every other; tokens left over go to the slowest rank."""

    def slowest(self, tokens: ArrayLike, experts: int, top_k: int, ranks: int) -> RankLoad:
        """`balanced` of AIConfigurator's expert tables: consecutive tokens take consecutive experts
        in k strides of E/k, and few tokens spread evenly over a stride."""
        t, n = _checked(tokens, experts, top_k, ranks)
        stride = experts / top_k
        whole = np.floor(t / stride)
        rest = max(n / stride, 1.0) * np.minimum(t - whole * stride, n)
        choices = n * whole + np.where(t < stride, np.ceil(n * t / stride), rest)
        return RankLoad(
            choices=choices,
            touched=np.minimum(choices, n),
            largest=np.ceil(t / stride),
            tokens=np.minimum(t, choices),
        )

    def levels(
        self, tokens: ArrayLike, experts: int, top_k: int, ranks: int, count: int = 8
    ) -> Array:
        """The same at every level: nothing is random."""
        load = self.slowest(tokens, experts, top_k, ranks)
        return np.tile(load.choices / _mean(tokens, top_k, ranks), (count, 1))


@dataclass(frozen=True, slots=True)
class Uniform:
    """Every token chooses k different experts, each set equally likely, independently."""

    def slowest(self, tokens: ArrayLike, experts: int, top_k: int, ranks: int) -> RankLoad:
        """touched = n·(1 − (1 − k/E)ᵗ); the maxima are expected maxima of independent Poisson
        counts with the variance of choosing without replacement."""
        return _interpolated(tokens, experts, top_k, ranks, self._at)

    def levels(
        self, tokens: ArrayLike, experts: int, top_k: int, ranks: int, count: int = 8
    ) -> Array:
        """Quantiles of the largest of the ranks' counts."""
        t, n = _checked(tokens, experts, top_k, ranks)
        grid = _grid(t)
        mean = grid * top_k / ranks
        top = _largest_of(mean, ranks, _spread(experts, top_k, ranks), count)
        top = np.clip(top, mean, grid * min(top_k, n)) / mean
        return np.stack([_along(t, grid, row) for row in top])

    def _at(self, t: Array, experts: int, top_k: int, ranks: int) -> RankLoad:
        n = experts // ranks
        mean, single = t * top_k / ranks, t * top_k / experts
        top = _largest_of(mean, ranks, _spread(experts, top_k, ranks), _LEVELS).mean(axis=0)
        choices = np.clip(top, mean, t * min(top_k, n))
        peak = _largest_of(single, n, 1.0 - top_k / experts, _LEVELS).mean(axis=0)
        peak = np.clip(peak * choices / mean, choices / n, np.minimum(t, choices))
        touched = n * (1.0 - (1.0 - choices / (n * np.maximum(t, choices / n))) ** t)
        missed = np.prod([1.0 - n / (experts - i) for i in range(top_k)]) if ranks > 1 else 0.0
        reached = np.minimum(t, t * (1.0 - missed) * choices / mean)
        return RankLoad(choices, np.minimum(touched, choices), np.maximum(peak, 1.0), reached)


@dataclass(frozen=True, slots=True)
class PowerLaw:
    """Some experts are popular: loads drawn from a power law, p(x) ∝ x^(−exponent).

    `power_law_1.2` of AIConfigurator's expert tables (ai-dynamo/aiconfigurator,
    collector/helper.py): weights from the law on [1, 0.8·t] ([0.01, 2] while t·k ≤ E), scaled to
    t·k choices and rounded, none above t; what is then left over or too much is evened out rank by
    rank at the smallest or the largest experts. The rank with most choices is the slowest.
    """

    exponent: float = 1.2

    def __post_init__(self) -> None:
        if self.exponent <= 0 or self.exponent == 1:
            raise ScenarioError(
                f"routing exponent {self.exponent:g} must be positive and not 1: the tables have "
                "1.2; most uneven is about 1.5, nearly even 0.2 or 5; use 1.01 for a law close to 1"
            )

    def slowest(self, tokens: ArrayLike, experts: int, top_k: int, ranks: int) -> RankLoad:
        """Means over draws of the law."""

        def at(t: Array, experts: int, top_k: int, ranks: int) -> RankLoad:
            load = self._sampled(t, experts, top_k, ranks)
            return RankLoad(*(field.mean(axis=1) for field in load))

        return _interpolated(tokens, experts, top_k, ranks, at)

    def levels(
        self, tokens: ArrayLike, experts: int, top_k: int, ranks: int, count: int = 8
    ) -> Array:
        """Quantiles over draws, each the mean of 1/count of them."""
        t, _ = _checked(tokens, experts, top_k, ranks)
        grid = _grid(t)
        drawn = np.sort(self._sampled(grid, experts, top_k, ranks)[0], axis=1)
        share = np.array_split(drawn, count, axis=1)
        mean = grid * top_k / ranks
        return np.stack([_along(t, grid, part.mean(axis=1) / mean) for part in share])

    def _sampled(
        self, t: Array, experts: int, top_k: int, ranks: int
    ) -> tuple[Array, Array, Array, Array]:
        """Choices, touched, largest and tokens of the slowest rank, each (tokens, draws)."""
        samples = max(16, min(512, _SAMPLES // experts))
        uniform = Draws(0, "routing").uniform(
            np.arange(samples)[:, None], np.arange(experts)[None, :]
        )
        wanted = t[:, None, None] * top_k * self._shares(t, experts, top_k, uniform)
        counts = np.minimum(np.rint(wanted), t[:, None, None])
        counts = counts.reshape(len(t), samples, ranks, experts // ranks)
        left = t[:, None] * top_k - counts.sum(axis=(2, 3))
        ours = np.floor(np.abs(left) / ranks)[..., None]
        ours = ours + (np.arange(ranks) < (np.abs(left) - ours[..., 0] * ranks)[..., None])
        extra = np.sign(left)[..., None] * ours
        total = np.clip(counts.sum(axis=3) + extra, 0.0, t[:, None, None] * (experts // ranks))
        slow = total.argmax(axis=2)[..., None]
        rank = np.take_along_axis(counts, slow[..., None], axis=2)[:, :, 0]
        return _evened(
            np.sort(rank, axis=2),
            np.take_along_axis(total, slow, axis=2)[..., 0],
            np.take_along_axis(extra, slow, axis=2)[..., 0],
            t[:, None],
        )

    def _shares(self, t: Array, experts: int, top_k: int, uniform: Array) -> Array:
        """(tokens, draws, experts): every expert's share of the choices, by inverse transform."""
        power = 1.0 - self.exponent
        few = t * top_k <= experts
        low = np.where(few, 0.01, 1.0) ** power
        high = np.where(few, 2.0, np.maximum(0.8 * t, 1.0)) ** power
        weights = (high - low)[:, None, None] * uniform + low[:, None, None]
        weights **= 1.0 / power
        return np.asarray(weights / weights.sum(axis=2, keepdims=True))


def _evened(
    counts: Array, total: Array, extra: Array, t: Array
) -> tuple[Array, Array, Array, Array]:
    """The slowest rank after `extra` choices were added to its smallest experts (water-filling) or
    taken from its largest; `counts` (…, n) in rising order."""
    n = np.arange(1, counts.shape[2] + 1)
    fill = np.maximum(extra, 0.0)[..., None]
    drain = np.maximum(-extra, 0.0)[..., None]
    floor = ((np.cumsum(counts, axis=2) + fill) / n).min(axis=2)
    cap = ((np.cumsum(counts[..., ::-1], axis=2) - drain) / n).max(axis=2)
    nonzero = (counts > 0).sum(axis=2)
    touched = np.minimum(np.minimum(nonzero + fill[..., 0], counts.shape[2]), total)
    after = np.where(fill > 0, np.maximum(counts, floor[..., None]), counts)
    after = np.where(drain > 0, np.minimum(counts, cap[..., None]), after)
    largest = np.minimum(np.ceil(after.max(axis=2) - 1e-9), total)
    tokens = t * (1.0 - np.prod(1.0 - np.clip(after / t[..., None], 0.0, 1.0), axis=2))
    tokens = np.clip(tokens, largest, np.minimum(t, total))
    return total, touched, largest, tokens


def _largest_of(mean: Array, of: int, spread: float, count: int) -> Array:
    """(count, mean): the largest of `of` counts at `count` equally likely levels. Poisson counts,
    their distance from the mean scaled by √spread (variance ÷ mean)."""
    from scipy.special import pdtrik  # loaded late: it takes a fifth of a second

    level = (np.arange(count) + 0.5) / count
    quantile = np.ceil(pdtrik((level ** (1.0 / of))[:, None], np.maximum(mean, 1e-9)) - 1e-9)
    return np.asarray(mean + (quantile - mean) * np.sqrt(spread)) if of > 1 else mean[None, :]


def _spread(experts: int, top_k: int, ranks: int) -> float:
    """Variance ÷ mean of a rank's choices by one token: hypergeometric."""
    return (1.0 - 1.0 / ranks) * (experts - top_k) / max(experts - 1, 1)


def _interpolated(
    tokens: ArrayLike,
    experts: int,
    top_k: int,
    ranks: int,
    at: Callable[[Array, int, int, int], RankLoad],
) -> RankLoad:
    t, _ = _checked(tokens, experts, top_k, ranks)
    grid = _grid(t)
    load = at(grid, experts, top_k, ranks)
    return RankLoad(
        choices=_along(t, grid, load.choices),
        touched=_along(t, grid, load.touched),
        largest=_along(t, grid, load.largest),
        tokens=_along(t, grid, load.tokens if ranks > 1 else grid),
    )


def _grid(t: Array) -> Array:
    """Whole token counts that are dense at the low end and geometric above, from 1 to the most."""
    top = float(max(t.max(initial=1.0), 1.0))
    return np.unique(np.rint(np.geomspace(1.0, top, _COUNTS)))


def _along(t: Array, grid: Array, values: Array) -> Array:
    """Linear between the grid's counts; nothing for no tokens."""
    return np.where(t > 0, np.interp(t, grid, values), 0.0)


def _mean(tokens: ArrayLike, top_k: int, ranks: int) -> Array:
    return np.maximum(np.asarray(tokens, dtype=np.float64), 1.0) * top_k / ranks


def _checked(tokens: ArrayLike, experts: int, top_k: int, ranks: int) -> tuple[Array, int]:
    """Token counts as floats, and experts per rank; ScenarioError where the ranks do not divide."""
    if experts % ranks:
        raise ScenarioError(
            f"{experts} experts do not divide over {ranks} expert-parallel ranks; "
            f"use a divisor of {experts}"
        )
    if not 1 <= top_k <= experts:
        raise ScenarioError(f"top_k {top_k} must be between 1 and the {experts} experts")
    return np.asarray(tokens, dtype=np.float64), experts // ranks
