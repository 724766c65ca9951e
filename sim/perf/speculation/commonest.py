"""The commonest verify steps priced quickly: one rank, one stage, nothing that overlaps.

All but attention depends on the number of sequences alone, and is worked out once for each. The
operations and their order are those of `Passes` and `DraftPasses`, so that the bits are equal.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sim.perf.price_list import HostTables, StageTables
from sim.perf.shape import StepShape
from sim.perf.speculation.acceptance import Tree
from sim.perf.speculation.drafting import DraftPasses
from sim.perf.speculation.passes import Passes

Term = tuple[int, int, float, float, float, float, float, int, int, float, float]
"""Of one kind of attention: which sum of contexts it attends to and at most how many keys (0 = no
limit), the floor, the line near and far, queries, and what scoring them takes."""
NO_LIMIT = 1 << 62


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
    stage: StageTables
    tokens: int
    rows: int
    """Of the sequences, tokens and those that go through the head."""
    times: int = 1
    """How often it comes."""
    prompts: bool = True
    """Whether prompts are in it."""

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
            stage,
            tokens,
            m * rows,
        )

    def attention_s(self, whole: int, capped: list[int]) -> float:
        """Of the sequences, with these sums of contexts."""
        total, branches = 0.0, self.branches
        for index, limit, floor, near, near_key, far, far_key, q, sub, ratio, pair in self.terms:
            c = capped[index - 1] if index else whole
            if limit and c > limit:
                c = limit
            c *= branches
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
        return total

    def with_prompts_s(self, attention_s: float, s: StepShape) -> float:
        """The whole pass, with the chunks of a shape whose caps are those of this model."""
        stage, p = self.stage, s.prefill_tokens
        tokens = self.tokens + p
        rows = self.rows and self.rows + s.sampled - s.decodes
        prefill = 0.0
        for price in stage.attention:
            prefill += price.prefill_s(p, s)
        fixed = stage.lists[0][tokens] + stage.lists[1][rows]
        rest = float(stage.experts[tokens]) + stage.lists[3][tokens]
        return fixed + (attention_s + prefill) + rest


@dataclass(frozen=True, slots=True)
class Stack:
    """The terms of all passes below one another: columns of numbers, one row a term."""

    which: NDArray[np.int64] | None
    """Sum of contexts of each term; None: the whole one for all."""
    limit: NDArray[np.int64] | None
    """None: no term has one."""
    branches: NDArray[np.int64]
    line: tuple[NDArray[np.float64], ...]
    """Floor, near, near by key, far, far by key."""
    queries: NDArray[np.int64]
    sub: NDArray[np.int64]
    ratio: NDArray[np.float64]
    pair: NDArray[np.float64]

    @staticmethod
    def of(passes: tuple[PassOf, ...]) -> Stack:
        """Of passes one after the other. Terms of one query, which is not scored, have a ratio of
        0: reading is never below that."""
        terms = [(*term, p.branches) for p in passes for term in p.terms]
        columns = [np.array(column)[:, None] for column in zip(*terms, strict=True)]
        columns = columns or [np.zeros((0, 1), dtype=np.int64)] * 12  # no attention at all
        which, limit, floor, near, near_key, far, far_key, queries, sub, ratio, pair, more = columns
        return Stack(
            which[:, 0] if which.any() else None,
            np.where(limit > 0, limit, NO_LIMIT) if limit.any() else None,
            more,
            (floor, near, near_key, far, far_key),
            queries,
            sub,
            np.where(queries > 1, ratio, 0.0),
            pair,
        )

    def seconds(self, context: NDArray[np.int64], capped: tuple[NDArray[np.int64], ...]) -> Any:
        """(terms, steps) seconds of every term."""
        c = context if self.which is None else np.stack((context, *capped))[self.which]
        if self.limit is not None:
            c = np.minimum(c, self.limit)
        c = c * self.branches
        floor, near, near_key, far, far_key = self.line
        reading = np.minimum(near + c * near_key, far + c * far_key)
        np.maximum(reading, floor, out=reading)
        return np.maximum(reading, self.ratio * (self.queries * c - self.sub) * self.pair)


@dataclass(frozen=True, slots=True)
class Commonest:
    """Verify steps of n sequences with some drafts."""

    ahead: int
    """Keys that the last queries attend to beyond the contexts that are given."""
    passes: tuple[PassOf, ...]
    """The target's, then those of drafts."""
    more_s: float
    """What the host adds, but for the plain step's."""
    exposed_s: float
    loop_s: float
    """Of a step without prompts."""
    host: HostTables
    stack: Stack

    @staticmethod
    def of(
        target: Passes, draft: DraftPasses | None, tree: Tree, n: int, more_s: float
    ) -> Commonest:
        """Of a target and its draft."""
        caps, host = target.timer.caps, target.timer.host
        made = [PassOf.of(target, n, tree.tokens, tree.tokens, 1, caps)]
        if draft is not None:
            seen = tree.tokens if draft.sees_verified else 1
            made.append(PassOf.of(draft.model, n, seen, 1, 1, caps))
            if draft.once is not None:
                made.append(PassOf.of(draft.once, n, tree.tokens, 0, 1, caps))
            if tree.steps > 1:
                again = PassOf.of(draft.model, n, 1, 1, tree.topk, caps)
                made.append(replace(again, times=tree.steps - 1, prompts=False))
        passes, exposed, loop = tuple(made), host.lists[0][n], host.lists[1][n]
        ahead = n * (tree.tokens - 1)
        return Commonest(ahead, passes, more_s, exposed, loop, host, Stack.of(passes))

    def seconds(self, s: StepShape) -> float:
        """Of one step."""
        whole, capped, prompts = s.context_tokens + self.ahead, s.capped_tokens, s.prefill_tokens
        target: float | None = None
        drafting = 0.0
        for one in self.passes:
            attention = one.attention_s(whole, capped)
            if prompts and one.prompts:
                seconds = one.with_prompts_s(attention, s)
            else:
                seconds = one.fixed + attention + one.rest
            if target is None:
                target = seconds
            else:
                drafting += one.times * seconds
        gpu_s = (target or 0.0) + drafting + self.more_s
        return self.host.step_s(gpu_s, s.decodes + s.prefills)

    def steps(self, contexts: list[int], capped: list[list[int]]) -> list[float]:
        """Of a few successive steps without prompts."""
        out, loop_s = [], self.loop_s
        for j, context in enumerate(contexts):
            whole, mine = context + self.ahead, [column[j] for column in capped]
            first, *drafts = self.passes
            drafting = 0.0
            for one in drafts:
                drafting += one.times * (one.fixed + one.attention_s(whole, mine) + one.rest)
            target = first.fixed + first.attention_s(whole, mine) + first.rest
            seconds = target + drafting + self.more_s + self.exposed_s
            out.append(seconds if seconds > loop_s else loop_s)
        return out

    def run(self, context: NDArray[np.int64], capped: tuple[NDArray[np.int64], ...]) -> list[float]:
        """Of successive steps."""
        terms = self.stack.seconds(context + self.ahead, capped)
        target: Any = None
        drafting: Any = 0.0
        at = 0
        for one in self.passes:
            total: Any = 0.0
            for term in terms[at : at + len(one.terms)]:
                total = total + term
            at += len(one.terms)
            seconds = one.fixed + total + one.rest
            if target is None:
                target = seconds
            else:
                drafting = drafting + one.times * seconds
        whole = np.maximum(target + drafting + self.more_s + self.exposed_s, self.loop_s)
        return np.broadcast_to(whole, len(context)).tolist()  # type: ignore[no-any-return]
