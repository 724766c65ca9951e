"""The next verify steps of the decoding sequences of one (rank, slot), drawn ahead.

A window reaches from a tick to the next multiple of 64, or of up to 256 where members are few. What
each member gets in it is drawn when the window is opened (all members at once) or when the member
joins (all that join together); its sums over members are kept by tick, so that a step reads one
entry of each, whatever the batch. Members hold a row of the arrays below; who leaves early takes
its part out again.

Before its verify step of q tokens, a sequence with c tokens in the KV cache needs room for c + q,
as far as its declared length and the engine's context reach; what rejected drafts leave is the next
step's. `before` are the tokens that a row has got before each step of the window.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sim.engine.sums import CONTEXT, FIRST, GROWS, HELD, KIND, LEFT, LIMIT, LONGEST, START, Sums
from sim.perf.speculation.acceptance import CHUNK, Tree
from sim.perf.speculation.verdicts import Verdicts

Ints = NDArray[np.int64]
Given = NDArray[np.int8]
Ends = list[tuple[int, int]]
"""(row, tick at which it has made its last token) of those who finish in the window."""
ONE_BY_ONE = 4
"""Members that join together up to which a row of their own each is quicker than a matrix."""
DRAWN_AT_ONCE = 1 << 12
"""Draws up to which a window is bound by the number of calls, so that a longer one is cheaper."""


class Entry(NamedTuple):
    """A sequence on its way into a window."""

    number: int
    verified: int
    """Verify steps that it has had."""
    context: int
    """Tokens in the KV cache."""
    left: int
    """Tokens that it still gets."""
    limit: int
    """Longest that it may get, as far as the engine can know."""
    grows: bool
    """Whether room is taken step by step, not reserved."""


class Window:
    """Rows of members, and sums by tick from `begin` on (exclusive of `end`)."""

    def __init__(self, sums: Sums, verdicts: Verdicts, tree: Tree) -> None:
        self._verdicts = verdicts
        self.begin = 0
        self.end = CHUNK
        self.longest = LONGEST
        """Steps that a window may have."""
        self.tree = tree
        self.lag = 0
        self.sums = sums
        sums.clear(tree.tokens)
        self._keys = np.zeros(0, dtype=np.uint64)
        self._rows = np.zeros((GROWS + 1, 0), dtype=np.int64)
        """What is known of every row."""
        self._got = np.zeros((0, CHUNK + 1), dtype=np.int16)
        """Tokens got before each step of the window, and after the last."""
        self._free: list[int] = []
        """Rows that were used in this window, and are no more."""
        self._used = 0
        """Rows from here on were not."""
        self._alike = True
        """Nobody ever came whose room was reserved, and drafts never became fewer."""
        self._make_room(16)

    def _make_room(self, rows: int) -> None:
        """For so many members in all."""
        more = rows - len(self._keys)
        self._keys = np.concatenate([self._keys, np.zeros(more, dtype=np.uint64)])
        self._rows = np.concatenate([self._rows, np.zeros((GROWS + 1, more), dtype=np.int64)], 1)
        steps = self._got.shape[1]
        self._got = np.concatenate([self._got, np.zeros((more, steps), dtype=np.int16)])
        self._row, self._had = self._rows.data, self._got.data

    # ---- members

    def enter(self, entries: list[Entry], tick: int) -> tuple[list[int], Ends]:
        """Take members in at a tick: (their rows, who of them finishes when)."""
        rows = [self._take_row() for _ in entries]
        v, at = self._verdicts, tick - self.begin
        if len(entries) <= ONE_BY_ONE and all(self._fits(e, tick) for e in entries):
            for row, e in zip(rows, entries, strict=True):
                self._enter_one(row, e, tick)
            return rows, []
        places = np.array(rows)
        self._keys[places] = np.array([v.key(e.number) for e in entries], dtype=np.uint64)
        known = [
            (
                e.context,
                e.left,
                e.limit,
                e.context,
                at,
                e.verified - tick,
                v.kind(e.number),
                e.grows,
            )
            for e in entries
        ]
        self._rows[:, places] = np.array(known, dtype=np.int64).T
        self._alike = self._alike and all(e.grows for e in entries)
        given = None
        if self.end - tick <= CHUNK and not any(e.verified for e in entries):
            given = np.array([v.opening(e.number, self.tree, self.lag) for e in entries])
        return rows, self._draw(places, at, given)

    def _take_row(self) -> int:
        if self._free:
            return self._free.pop()
        if self._used == len(self._keys):
            self._make_room(2 * self._used)
        self._used += 1
        return self._used - 1

    def _fits(self, e: Entry, tick: int) -> bool:
        """Whether nothing ends or fills up in the window, whatever is drawn, and the first steps of
        a request are enough."""
        count = self.end - tick
        most = self.tree.tokens * count
        first = e.grows and not e.verified and count <= CHUNK
        return first and most < e.left and e.context + most < e.limit

    def _enter_one(self, row: int, e: Entry, tick: int) -> None:
        """`enter`, in few calls."""
        v, j, c = self._verdicts, tick - self.begin, e.context
        self._keys[row] = v.key(e.number)
        self._rows[:, row] = (c, e.left, e.limit, c, j, -tick, v.kind(e.number), True)
        count = self.end - tick
        got = self._got[row, j : j + count + 1]
        got[0] = 0
        v.opening(e.number, self.tree, self.lag)[:count].cumsum(dtype=np.int16, out=got[1:])
        self.sums.one(got, c, c, j, np.add)

    def release(self, row: int, tick: int) -> bool:
        """A member leaves before a tick; whether the sums have changed, as it has not finished."""
        j = max(tick - self.begin, self._row[START, row])
        count = self.end - self.begin
        early: bool = j < count and self._had[row, j] < self._row[LEFT, row]
        if early:
            self._take_out(row, j, self.room(row, tick))
        self._free.append(row)
        return early

    def _take_out(self, row: int, j: int, held: int) -> None:
        """The part of a row from the window's j-th step on."""
        known, count, q = self._row, self.end - self.begin, self.tree.tokens
        context, last = known[CONTEXT, row], self._had[row, count]
        alone = known[GROWS, row] and held <= context + self._had[row, j] + q
        if alone and last < known[LEFT, row] and context + last + q <= known[LIMIT, row]:
            got = self._got[row, j : count + 1]
            self.sums.one(got, context, held, j, np.subtract)
            return
        mine = self._rows[:, row : row + 1].copy()
        mine[HELD] = held
        self.sums.any_rows(mine, self._got[row : row + 1, j : count + 1], j, -1)

    def context(self, row: int, tick: int) -> int:
        """Tokens that a member has in the KV cache before a tick."""
        return self._row[CONTEXT, row] + self._had[row, tick - self.begin]

    def room(self, row: int, tick: int) -> int:
        """Tokens that a member had room for in its last step before a tick."""
        known, j = self._row, tick - self.begin
        held: int = known[HELD, row]
        if j <= known[START, row]:
            return held
        context: int = known[CONTEXT, row] + self._had[row, j - 1]
        reach = context + self.tree.tokens
        limit: int = known[LIMIT, row]
        if reach > limit:
            reach = limit if limit > context else context + 1
        return reach if reach > held else held

    # ---- drawing

    def reopen(self, rows: list[int], tick: int, tree: Tree, lag: int) -> Ends:
        """A window from a tick on, with these drafts. The members that are there get rows 0, 1, …
        in the order of `rows`; who of them finishes when."""
        n, j, q = len(rows), tick - self.begin, self.tree.tokens
        if n:
            at = np.array(rows)
            mine, had = self._rows[:, at], self._got[at, max(j - 1, 0) : j + 1]
            before, got = mine[CONTEXT] + had[:, 0], had[:, -1]
            reach = np.maximum(before + 1, np.minimum(before + q, mine[LIMIT]))
            np.maximum(mine[HELD], reach, out=mine[HELD], where=mine[START] < j)
            mine[CONTEXT] += got
            mine[LEFT] -= got
            mine[START] = 0
            self._rows[:, :n] = mine
            self._keys[:n] = self._keys[at]
        self._free, self._used = [], n
        self._alike = self._alike and tree.tokens >= q
        self.tree, self.lag = tree, lag
        steps = CHUNK
        while 2 * steps <= self.longest and 2 * steps * n <= DRAWN_AT_ONCE:
            steps *= 2
        self.begin, self.end = tick, (tick // steps + 1) * steps
        if self._got.shape[1] != steps + 1:
            self._got = np.zeros((len(self._keys), steps + 1), dtype=np.int16)
            self._had = self._got.data
        self.sums.clear(tree.tokens)
        return self._draw(slice(0, n), 0) if n else []

    def _draw(self, rows: slice | Ints, j: int, opening: Given | None = None) -> Ends:
        """Draw the steps from the window's j-th on, or take the first ones that have been drawn,
        and add them to the sums."""
        count, tick = self.end - self.begin - j, self.begin + j
        mine, q = self._rows[:, rows], self.tree.tokens
        if opening is None:
            given = self._verdicts.tokens(
                self._keys[rows], mine[KIND], mine[FIRST] + tick, count, self.tree, self.lag
            )
        else:
            given = opening[:, :count]
        got = np.empty((len(given), count + 1), dtype=np.int32)
        got[:, 0] = 0
        given.cumsum(axis=1, dtype=np.int32, out=got[:, 1:])
        left = mine[LEFT]
        ending = got[:, -1] >= left
        some_end = bool(ending.any())
        if some_end:
            np.minimum(got, left[:, None], out=got)
        self._got[rows, j : j + count + 1] = got
        apart = mine[CONTEXT] + (got[:, -1] + q) > mine[LIMIT]
        if not self._alike:
            apart |= (mine[HELD] > mine[CONTEXT] + q) | (mine[GROWS] == 0)
        if apart.any():
            self.sums.any_rows(mine[:, apart], got[apart], j, 1)
            others = ~apart
            if others.any():
                self.sums.rows(mine[:, others], got[others], j, some_end)
        else:
            self.sums.rows(mine, got, j, some_end)
        if not some_end:
            return []
        done = np.flatnonzero(ending)
        steps = np.count_nonzero(got[done, :-1] < left[done, None], axis=1)
        numbers = done if isinstance(rows, slice) else rows[done]
        return list(zip(numbers.tolist(), (steps + tick).tolist(), strict=True))
