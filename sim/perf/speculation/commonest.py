"""The commonest verify step priced quickly: one rank, one stage, no prompts, nothing that overlaps.

All but attention depends on the number of sequences alone, and is worked out once for each. The
operations and their order are those of `Passes` and `DraftPasses`, so that the bits are equal.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sim.perf.shape import MAX_CAPS
from sim.perf.speculation.acceptance import Tree
from sim.perf.speculation.drafting import DraftPasses
from sim.perf.speculation.passes import Passes

Term = tuple[int, int, float, float, float, float, float, int, int, float, float]
"""Of one kind of attention: which sum of contexts it attends to and at most how many keys (0 = no
limit), the line near and far, the floor, queries, and what scoring them takes."""


@dataclass(frozen=True, slots=True)
class PassOf:
    """One pass of n sequences with `queries` tokens each."""

    fixed: float
    """Products, norms, head."""
    rest: float
    """Experts and collectives."""
    terms: tuple[Term, ...]
    branches: int
    """Copies of every context."""

    @staticmethod
    def of(
        passes: Passes, n: int, queries: int, rows: int, branches: int, caps: tuple[int, ...]
    ) -> PassOf:
        """`n` sequences in `branches` copies; `caps` are those of the contexts that are given."""
        stage, own, m = passes.timer.tables[0], passes.timer.caps, n * branches
        tokens, terms = m * queries, []
        for price, ratio in zip(stage.attention, passes.arithmetic[0], strict=True):
            cap = 0 if price.cap < 0 else own[price.cap]
            index = caps.index(cap) + 1 if cap in caps else 0
            floor, near, near_key, far, far_key = (column[m] for column in price.decode_lists)
            scored = price.prefill_lists[1][tokens] if queries > 1 else 0.0
            limit = 0 if index or not cap else n * cap
            sub = m * (queries * (queries - 1) // 2)
            terms.append(
                (index, limit, floor, near, near_key, far, far_key, queries, sub, ratio, scored)
            )
        return PassOf(
            stage.lists[0][tokens] + stage.lists[1][m * rows],
            float(stage.experts[tokens]) + stage.lists[3][tokens],
            tuple(terms),
            branches,
        )

    def seconds(self, contexts: tuple[int, ...]) -> float:
        """With these sums of contexts."""
        total = 0.0
        for index, limit, floor, near, near_key, far, far_key, q, sub, ratio, pair in self.terms:
            c = contexts[index]
            if limit and c > limit:
                c = limit
            c *= self.branches
            reading, ramped = near + c * near_key, far + c * far_key
            if ramped < reading:
                reading = ramped
            if reading < floor:
                reading = floor
            if q > 1:
                scoring = ratio * (q * c - sub) * pair
                if scoring > reading:
                    reading = scoring
            total += reading
        return self.fixed + total + self.rest

    def run(self, contexts: tuple[NDArray[np.int64], ...]) -> Any:
        """The same of several steps at once."""
        total: Any = 0.0
        for index, limit, floor, near, near_key, far, far_key, q, sub, ratio, pair in self.terms:
            c = contexts[index]
            if limit:
                c = np.minimum(c, limit)
            c = c * self.branches
            reading = np.minimum(near + c * near_key, far + c * far_key)
            reading = np.maximum(reading, floor)
            if q > 1:
                reading = np.maximum(reading, ratio * (q * c - sub) * pair)
            total = total + reading
        return self.fixed + total + self.rest


@dataclass(frozen=True, slots=True)
class Commonest:
    """Verify steps of n sequences with `tree`."""

    ahead: int
    """Keys that the last queries attend to beyond the contexts that are given."""
    verify: PassOf
    first: PassOf | None
    once: PassOf | None
    again: PassOf | None
    times: int
    """Drafting passes after the first."""
    more_s: float
    """What the host adds, but for the plain step's."""
    exposed_s: float
    loop_s: float

    @staticmethod
    def of(
        target: Passes, draft: DraftPasses | None, tree: Tree, n: int, more_s: float
    ) -> Commonest:
        """Of a target and its draft."""
        caps, host = target.timer.caps, target.timer.host.lists
        verify = PassOf.of(target, n, tree.tokens, tree.tokens, 1, caps)
        first = once = again = None
        if draft is not None:
            seen = tree.tokens if draft.sees_verified else 1
            first = PassOf.of(draft.model, n, seen, 1, 1, caps)
            if draft.once is not None:
                once = PassOf.of(draft.once, n, tree.tokens, 0, 1, caps)
            if tree.steps > 1:
                again = PassOf.of(draft.model, n, 1, 1, tree.topk, caps)
        ahead, times = n * (tree.tokens - 1), tree.steps - 1
        exposed, loop = host[0][n], host[1][n]
        return Commonest(ahead, verify, first, once, again, times, more_s, exposed, loop)

    def seconds(self, context: int, capped: list[int]) -> float:
        """Of one step."""
        contexts = (context + self.ahead, *capped)
        seconds = self.verify.seconds(contexts)
        if self.first is not None:
            drafting = self.first.seconds(contexts)
            if self.once is not None:
                drafting += self.once.seconds(contexts)
            if self.again is not None:
                drafting += self.times * self.again.seconds(contexts)
            seconds += drafting
        seconds = seconds + self.more_s + self.exposed_s
        return seconds if seconds > self.loop_s else self.loop_s

    def run(self, context: NDArray[np.int64], capped: tuple[NDArray[np.int64], ...]) -> list[float]:
        """Of successive steps."""
        none = np.zeros_like(context)
        contexts = (context + self.ahead, *capped, *[none] * (MAX_CAPS - len(capped)))
        seconds = self.verify.run(contexts)
        if self.first is not None:
            drafting = self.first.run(contexts)
            if self.once is not None:
                drafting = drafting + self.once.run(contexts)
            if self.again is not None:
                drafting = drafting + self.times * self.again.run(contexts)
            seconds = seconds + drafting
        seconds = np.maximum(seconds + self.more_s + self.exposed_s, self.loop_s)
        return np.broadcast_to(seconds, len(context)).tolist()  # type: ignore[no-any-return]
