"""What the members of a window come to together, by tick: kept as they join and leave, so that a
step reads one entry of each."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from sim.perf.memory import KvGroup

Ints = NDArray[np.int64]
Whole = NDArray[np.signedinteger[Any]]
LONGEST = 256
"""Steps of the longest window: twice that many draws of a hundred members in a core's cache. Sums
of what a row gets in it, at most 65 a step, fit 16 bits."""

CONTEXT, LEFT, LIMIT, HELD, START, FIRST, KIND, GROWS = range(8)
"""What is known of a row, besides its key: tokens in the KV cache when the window began, or when it
joined; tokens to come then; the longest that it may get, as far as the engine can know; tokens that
there was room for then; first step of the window in which it takes part; number of its verify step
at tick 0; part of the law that it is under; whether room is taken step by step, not reserved."""


class Sums:
    """Sums over members. `mine` are columns of what is known of rows, (numbers, rows); `got` the
    tokens that each has got before the steps from one on, and after the last."""

    def __init__(self, block_tokens: int, groups: tuple[KvGroup, ...], caps: tuple[int, ...]):
        self._block = block_tokens
        self._groups = groups
        self._caps = caps
        self.queries = 1
        """Tokens that each member brings to a step."""
        self.tokens = np.zeros(LONGEST, dtype=np.int32)
        """By tick: tokens that members get."""
        self.contexts, self.units = (np.zeros(LONGEST, dtype=np.int64) for _ in range(2))
        """Keys that they attend to (the new one included), and KV units that they need more than
        for the step before."""
        self.capped = tuple(np.zeros(LONGEST, dtype=np.int64) for _ in caps)
        """Keys limited to each cap."""

    def clear(self, queries: int) -> None:
        """Nobody takes part; from now on each brings so many tokens."""
        self.queries = queries
        self.tokens.fill(0)
        for sums in (self.contexts, self.units, *self.capped):
            sums.fill(0)

    def one(self, got: Whole, start: int, held: int, j: int, add: np.ufunc) -> None:
        """Add (or subtract) the part of a row from step j on that neither ends nor is held back in
        the window: `start` tokens were in the KV cache at first, and there is room for `held`."""
        span = slice(j, j + len(got) - 1)
        given = self.tokens[span]
        add(given, got[1:] - got[:-1], out=given)
        context = np.add(got[:-1], start + 1, dtype=np.int64)
        mine = self.contexts[span]
        add(mine, context, out=mine)
        for sums, cap in zip(self.capped, self._caps, strict=True):
            mine = sums[span]
            add(mine, np.minimum(context, cap), out=mine)
        context += self.queries - 1
        units = self._units(context[None, :])
        units[1:] -= units[:-1].copy()
        units[0] -= self._units_of(held)
        mine = self.units[span]
        add(mine, units, out=mine)

    def rows(self, mine: Ints, got: Whole, j: int, some_end: bool) -> None:
        """Add the part of rows that no limit holds back to the sums from step j on."""
        context, q, n, count = mine[CONTEXT], self.queries, len(got), got.shape[1] - 1
        span, whole = slice(j, j + count), np.add.reduce(got, axis=0, dtype=np.int64)
        self.tokens[span] += whole[1:] - whole[:-1]
        self.contexts[span] += whole[:-1] + (int(np.add.reduce(context)) + n)
        room = np.empty(got.shape, dtype=np.int32)
        kept = room[:, 1:]
        room[:, 0] = mine[HELD]
        np.add(got[:, :-1], context.astype(np.int32)[:, None] + 1, out=kept)
        for sums, cap in zip(self.capped, self._caps, strict=True):
            sums[span] += np.add.reduce(np.minimum(kept, cap), axis=0, dtype=np.int64)
        kept += q - 1
        units = self._units(room)
        self.units[span] += units[1:] - units[:-1]
        if some_end:
            self._cut(mine, got, j)

    def _cut(self, mine: Ints, got: Whole, j: int) -> None:
        """Take out what `rows` has added behind the ends of rows that finish."""
        count, q = got.shape[1] - 1, self.queries
        left = mine[LEFT]
        early = np.flatnonzero(got[:, -2] >= left)
        if not len(early):
            return
        steps = np.count_nonzero(got[early, :-1] < left[early, None], axis=1)
        last = got[early, steps - 1]
        part = mine[: LEFT + 1, early].tolist()
        for context, to_come, step, had in zip(*part, steps.tolist(), last.tolist(), strict=True):
            whole, behind = context + to_come, slice(j + step, j + count)
            self.contexts[behind] -= whole + 1
            for sums, cap in zip(self.capped, self._caps, strict=True):
                sums[behind] -= min(whole + 1, cap)
            more = self._units_of(whole + q) - self._units_of(context + had + q)
            self.units[j + step] -= more

    def any_rows(self, mine: Ints, got: Whole, j: int, sign: int) -> None:
        """Add (or take out) the part of any rows, as far as they take part."""
        before, held = got[:, :-1].astype(np.int64), mine[HELD]
        takes_part = before < mine[LEFT][:, None]
        context = before + (mine[CONTEXT][:, None] + 1)
        span = slice(j, j + before.shape[1])
        whole = got.sum(axis=0, dtype=np.int64)
        self.tokens[span] += sign * (whole[1:] - whole[:-1])
        self.contexts[span] += sign * (context * takes_part).sum(axis=0)
        for sums, cap in zip(self.capped, self._caps, strict=True):
            sums[span] += sign * (np.minimum(context, cap) * takes_part).sum(axis=0)
        grows = mine[GROWS] != 0
        if not grows.any():
            return
        reach = np.minimum(context + (self.queries - 1), mine[LIMIT][:, None])
        np.maximum(reach, context, out=reach)
        reach *= takes_part
        reach[:, 0] = np.maximum(reach[:, 0], held)
        np.maximum.accumulate(reach, axis=1, out=reach)
        units = self._units(np.concatenate([held[:, None], reach], axis=1)[grows])
        self.units[span] += sign * (units[1:] - units[:-1])

    def _units(self, tokens: Whole) -> Ints:
        """(steps,) KV units of all rows of (rows, steps) tokens."""
        total = np.zeros(tokens.shape[1], dtype=np.int64)
        for g in self._groups:
            kept = tokens if g.cap_tokens is None else np.minimum(tokens, g.cap_tokens)
            blocks = kept + (self._block - 1)
            blocks //= self._block
            total += g.units * np.add.reduce(blocks, axis=0, dtype=np.int64)
        return total

    def _units_of(self, tokens: int) -> int:
        """KV units of one row."""
        units = 0
        for g in self._groups:
            kept = tokens if g.cap_tokens is None else min(tokens, g.cap_tokens)
            units += g.units * -(-kept // self._block)
        return units
