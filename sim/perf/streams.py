"""Work side by side on one GPU: what of each kind there is, and how long all of it takes together.

Every law is made of + − × ÷ and comparisons, so that a float and an array give equal bits.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np


def longest(first: Any, *others: Any) -> Any:
    """The largest of some numbers, or of some arrays element by element."""
    for other in others:
        if isinstance(first, np.ndarray) or isinstance(other, np.ndarray):
            first = np.maximum(first, other)
        else:
            first = first if first > other else other
    return first


def shortest(first: Any, *others: Any) -> Any:
    """The smallest of some numbers, or of some arrays element by element."""
    for other in others:
        if isinstance(first, np.ndarray) or isinstance(other, np.ndarray):
            first = np.minimum(first, other)
        else:
            first = first if first < other else other
    return first


@dataclass(frozen=True, slots=True)
class Parts:
    """Seconds of a stage's work by kind, each alone on the GPU; numbers, or arrays alike."""

    linear: Any
    """Matrix products outside the routed experts, norms, the head: the slowest rank's."""
    attention: Any
    experts: Any
    collective: Any
    head: Any = 0.0
    """The part of `linear` that comes once, behind all layers."""
    shared: Any = 0.0
    """The part of `linear` that is the shared experts'."""
    tokens: Any = 0
    """Of the fullest rank."""


class Join(Protocol):
    """How the kinds of work of a stage overlap."""

    def joined(self, parts: Parts) -> Any:
        """Seconds of all of it."""


@dataclass(frozen=True, slots=True)
class Streams:
    """Two kinds of work side by side, each slowing the other.

    While both run, the first proceeds at a share a of its speed and the second at b, a + b ≥ 1.
    Works that take A and B alone then take max(B + A·x, A + B·y) with x = (1 − b)/a and
    y = (1 − a)/b: whichever outlasts the other finishes at full speed. x = y = 1 is one after the
    other, x = y = 0 free overlap.
    """

    second: frozenset[str]
    """Which of `attention`, `linear`, `experts`, `collective` are in the second stream."""
    first_s: float
    """x: seconds that one second of the first stream adds to the second."""
    second_s: float
    """y: seconds that one second of the second stream adds to the first."""
    exposed: float = 0.0
    """Share of the second stream that nothing hides (its head and tail)."""

    @staticmethod
    def speeds(second: frozenset[str], first: float, other: float, exposed: float = 0.0) -> Streams:
        """From the shares of their speeds at which both streams proceed while both run."""
        return Streams(second, (1.0 - other) / first, (1.0 - first) / other, exposed)

    def joined(self, parts: Parts) -> Any:
        """Seconds of all parts."""
        one: Any = 0.0
        two: Any = 0.0
        for name in ("linear", "attention", "experts", "collective"):
            if name in self.second:
                two = two + getattr(parts, name)
            else:
                one = one + getattr(parts, name)
        bare = two * self.exposed
        two = two - bare
        return longest(two + one * self.first_s, one + two * self.second_s) + bare


@dataclass(frozen=True, slots=True)
class Lanes:
    """Several kinds of work side by side: seconds = max over i of (Tᵢ + Σⱼ Tⱼ · delay[j][i]), the
    lane that ends last with what each of the others takes from it. Exact for two lanes (it is
    `Streams`); for more it lets delays add up, so that no lane gains from a third one's."""

    lanes: tuple[frozenset[str], ...]
    """Which kinds of work each lane does, first to last."""
    delay: tuple[tuple[float, ...], ...]
    """delay[j][i]: seconds that one second of lane j adds to lane i; 0 on the diagonal."""

    def joined(self, parts: Parts) -> Any:
        """Seconds of all parts."""
        alone = []
        for lane in self.lanes:
            seconds: Any = 0.0
            for name in ("linear", "attention", "experts", "collective"):
                if name in lane:
                    seconds = seconds + getattr(parts, name)
            alone.append(seconds)
        ends = []
        for i, seconds in enumerate(alone):
            for j, other in enumerate(alone):
                if j != i:
                    seconds = seconds + other * self.delay[j][i]
            ends.append(seconds)
        return longest(*ends)


@dataclass(frozen=True, slots=True)
class Beside:
    """The shared experts beside the collectives, everything else in order."""

    first_s: float
    """Seconds that one second of the shared experts adds to the collectives."""
    second_s: float
    """Seconds that one second of collectives adds to the shared experts."""

    def joined(self, parts: Parts) -> Any:
        """Seconds of all parts."""
        both = longest(
            parts.collective + parts.shared * self.first_s,
            parts.shared + parts.collective * self.second_s,
        )
        return (parts.linear - parts.shared) + parts.attention + parts.experts + both


@dataclass(frozen=True, slots=True)
class PingPong:
    """Attention GPUs and feed-forward GPUs pass m micro-batches to and fro.

    Per layer and micro-batch attention takes a, the feed-forward part e, each way between them c;
    the slowest of the three resources takes f, one micro-batch s = a + e + 2·c. A layer's round
    takes max(m·f, s), the last one s and its m − 1 followers f each. With m·f ≥ s this is
    s + f · (m·L − 1), equation 5 of MegaScale-Infer (arXiv 2504.02263, section 4.1).
    """

    micro_batches: int
    layers: int

    def joined(self, parts: Parts) -> Any:
        """Seconds of all layers of all micro-batches, and of the head behind them. `linear` and
        `attention` are the attention GPUs', `experts` the others', `collective` both ways. Fewer
        tokens than micro-batches make fewer of these."""
        some = longest(parts.tokens, parts.tokens * 0 + 1)
        m = shortest(some, some * 0 + self.micro_batches)
        each = 1.0 / (m * self.layers)
        a = (parts.linear - parts.head + parts.attention) * each
        e = parts.experts * each
        c = parts.collective * (0.5 * each)
        slowest, once = longest(a, e, c), a + e + (c + c)
        rounds = longest(slowest * m, once) * (self.layers - 1)
        return rounds + once + slowest * (m - 1) + parts.head
