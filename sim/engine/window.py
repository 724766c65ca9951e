"""The next verify steps of the decoding sequences of one (rank, slot), drawn ahead.

A window reaches from a tick to the next multiple of 64. What each member gets in it is drawn when
the window is opened (all members at once) or when the member joins (all that join together); its
sums over members are kept by tick, so that a step reads one entry of each, whatever the batch.
Members hold a row of the arrays below; who leaves early takes its part out again.

Before its verify step of q tokens, a sequence with c tokens in the KV cache needs room for c + q,
as far as its declared length and the engine's context reach; what rejected drafts leave is the next
step's. `before` are the tokens that a row has got before each step of the window.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sim.perf.memory import KvGroup
from sim.perf.speculation.acceptance import CHUNK, Tree
from sim.perf.speculation.verdicts import Verdicts

Ints = NDArray[np.int64]
Whole = NDArray[np.signedinteger[Any]]
ONE_BY_ONE = 4
"""Members that join together up to which a row of their own each is quicker than a matrix."""


_BY_ROW = (
    "_keys", "_kinds", "_first", "_context", "_left", "_limit", "_held", "_start", "_grows", "_got",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Entry:
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

    def __init__(
        self, block_tokens: int, groups: tuple[KvGroup, ...], caps: tuple[int, ...], v: Verdicts
    ) -> None:
        self._block = block_tokens
        self._groups = groups
        self._caps = caps
        self._verdicts = v
        self.begin = 0
        self.end = CHUNK
        self.tree = Tree.chain(0)
        self.lag = 0
        self.tokens, self.contexts, self.units = (np.zeros(CHUNK, dtype=np.int64) for _ in range(3))
        """By tick: tokens that members get, keys that they attend to (the new one included), and
        KV units that they need more than for the step before."""
        self.capped = tuple(np.zeros(CHUNK, dtype=np.int64) for _ in caps)
        """Keys limited to each cap."""
        self._keys = np.zeros(0, dtype=np.uint64)
        self._kinds = np.zeros(0, dtype=np.int64)
        self._first = np.zeros(0, dtype=np.int64)
        """Number of a row's verify step at tick 0."""
        self._context = np.zeros(0, dtype=np.int64)
        """Tokens in the KV cache when the window began, or when it joined."""
        self._left = np.zeros(0, dtype=np.int64)
        """Tokens to come then."""
        self._limit = np.zeros(0, dtype=np.int64)
        self._held = np.zeros(0, dtype=np.int64)
        """Tokens that there was room for then."""
        self._start = np.zeros(0, dtype=np.int64)
        """First step of the window in which it takes part."""
        self._grows = np.zeros(0, dtype=np.bool_)
        self._got = np.zeros((0, CHUNK + 1), dtype=np.int16)
        """Tokens got before each step of the window, and after the last."""
        self._free: list[int] = []
        self._make_room(16)

    def _make_room(self, rows: int) -> None:
        """For so many members in all."""
        old = len(self._context)
        for name in _BY_ROW:
            before = getattr(self, name)
            made = np.zeros((rows, *before.shape[1:]), dtype=before.dtype)
            made[:old] = before
            setattr(self, name, made)
        self._free.extend(range(rows - 1, old - 1, -1))

    # ---- members

    def enter(self, entries: list[Entry], tick: int) -> tuple[list[int], Ints]:
        """Take members in at a tick: (their rows, the ticks at which they finish, or −1)."""
        while len(self._free) < len(entries):
            self._make_room(2 * len(self._context))
        rows = [self._free.pop() for _ in entries]
        if len(entries) <= ONE_BY_ONE and all(self._fits(e, tick) for e in entries):
            for row, e in zip(rows, entries, strict=True):
                self._enter_one(row, e, tick)
            return rows, np.full(len(rows), -1)
        v = self._verdicts
        for row, e in zip(rows, entries, strict=True):
            self._keys[row], self._kinds[row] = v.key(e.number), v.kind(e.number)
            self._first[row] = e.verified - tick
            self._context[row] = self._held[row] = e.context
            self._left[row], self._limit[row] = e.left, e.limit
            self._grows[row] = e.grows
        return rows, self._draw(np.array(rows, dtype=np.int64), tick - self.begin)

    def _fits(self, e: Entry, tick: int) -> bool:
        """Whether nothing ends or fills up in the window, whatever is drawn."""
        most = self.tree.tokens * (self.end - tick)
        return e.grows and not e.verified and most < e.left and e.context + most < e.limit

    def _enter_one(self, row: int, e: Entry, tick: int) -> None:
        """`enter`, in few calls."""
        v, j, q, c = self._verdicts, tick - self.begin, self.tree.tokens, e.context
        self._keys[row], self._kinds[row] = v.key(e.number), v.kind(e.number)
        self._first[row], self._start[row], self._grows[row] = -tick, j, True
        self._context[row] = self._held[row] = c
        self._left[row], self._limit[row] = e.left, e.limit
        count = self.end - tick
        given = v.opening(e.number, self.tree, self.lag)[:count]
        got = given.cumsum(dtype=np.int64)
        self._got[row, j] = 0
        self._got[row, j + 1 : j + count + 1] = got
        span = slice(j, j + count)
        self.tokens[span] += given
        context = got - given
        context += c + 1
        self.contexts[span] += context
        for sums, cap in zip(self.capped, self._caps, strict=True):
            sums[span] += np.minimum(context, cap)
        context += q - 1
        units = self._units(context[None, :])
        mine = self.units[span]
        mine += units
        mine[1:] -= units[:-1]
        mine[0] -= sum(
            g.units * -(-(c if g.cap_tokens is None else min(c, g.cap_tokens)) // self._block)
            for g in self._groups
        )

    def release(self, row: int, tick: int) -> None:
        """A member leaves before a tick."""
        j = max(tick - self.begin, int(self._start[row]))
        count = self.end - self.begin
        if j < count and self._got[row, j] < self._left[row]:
            got = self._got[row : row + 1, j : count + 1]
            self._sum_masked(np.array([row]), got, np.array([self.room(row, tick)]), j, -1)
        self._free.append(row)

    def context(self, row: int, tick: int) -> int:
        """Tokens that a member has in the KV cache before a tick."""
        return int(self._context[row]) + int(self._got[row, tick - self.begin])

    def room(self, row: int, tick: int) -> int:
        """Tokens that a member had room for in its last step before a tick."""
        j, held = tick - self.begin, int(self._held[row])
        if j <= self._start[row]:
            return held
        context = int(self._context[row]) + int(self._got[row, j - 1])
        return max(held, self._reach(context, int(self._limit[row])))

    def _reach(self, context: int, limit: int) -> int:
        return max(context + 1, min(context + self.tree.tokens, limit))

    # ---- drawing

    def reopen(self, rows: list[int], tick: int, tree: Tree, lag: int) -> Ints:
        """A window from a tick on, with these drafts. The members that are there get rows 0, 1, …
        in the order of `rows`; the ticks at which they finish, or −1."""
        at, n, j = np.array(rows, dtype=np.int64), len(rows), tick - self.begin
        if n:
            context, held = self._context[at], self._held[at]
            before = context + self._got[at, max(j - 1, 0)]
            reach = np.maximum(before + 1, np.minimum(before + self.tree.tokens, self._limit[at]))
            self._held[:n] = np.where(self._start[at] < j, np.maximum(held, reach), held)
            got = self._got[at, j]
            self._context[:n] = context + got
            self._left[:n] = self._left[at] - got
            for kept in (self._keys, self._kinds, self._first, self._limit, self._grows):
                kept[:n] = kept[at]
        self._free = list(range(len(self._context) - 1, n - 1, -1))
        self.begin, self.end = tick, (tick // CHUNK + 1) * CHUNK
        self.tree, self.lag = tree, lag
        for sums in (self.tokens, self.contexts, self.units, *self.capped):
            sums[:] = 0
        return self._draw(slice(0, n), 0)

    def _draw(self, rows: slice | Ints, j: int) -> Ints:
        """Draw the steps from the window's j-th on and add them to the sums."""
        count = self.end - self.begin - j
        tick, left = self.begin + j, self._left[rows]
        first = self._first[rows] + tick
        given = self._verdicts.tokens(
            self._keys[rows], self._kinds[rows], first, count, self.tree, self.lag
        )
        got = np.zeros((len(left), count + 1), dtype=np.int32)
        np.cumsum(given, axis=1, out=got[:, 1:])
        ends = np.full(len(left), -1, dtype=np.int64)
        ending = got[:, -1] >= left
        if ending.any():
            np.minimum(got, left[:, None], out=got)
        if isinstance(rows, slice):
            self._got[rows, j : j + count + 1] = got
            rows = np.arange(rows.start, rows.stop)
        else:
            self._got[rows[:, None], np.arange(j, j + count + 1)] = got
        self._start[rows] = j
        lasting = rows if not ending.any() else rows[~ending]
        if len(lasting):
            self._sum(lasting, got if len(lasting) == len(rows) else got[~ending], j)
        if len(lasting) < len(rows):
            done, mine = rows[ending], got[ending]
            ends[ending] = tick + np.count_nonzero(mine[:, :-1] < mine[:, -1:], axis=1)
            self._sum_masked(done, mine, self._held[done], j, 1)
        return ends

    def _sum(self, rows: Ints, got: Whole, j: int) -> None:
        """Add the part of rows that last until the window ends to the sums from step j on."""
        context, limit, q = self._context[rows], self._limit[rows], self.tree.tokens
        held = self._held[rows]
        near = (context + got[:, -1] + q > limit).any() or (held > context + q).any()
        if near or not self._grows[rows].all():
            self._sum_masked(rows, got, held, j, 1)
            return
        count = got.shape[1] - 1
        span, whole = slice(j, j + count), got.sum(axis=0, dtype=np.int64)
        self.tokens[span] += np.diff(whole)
        self.contexts[span] += whole[:-1] + int(context.sum() + len(rows))
        kept = got[:, :-1] + context.astype(np.int32)[:, None]
        for sums, cap in zip(self.capped, self._caps, strict=True):
            sums[span] += np.minimum(kept + 1, cap).sum(axis=0, dtype=np.int64)
        units = self._units(kept + q)
        self.units[j] += int(units[0]) - int(self._units(held[:, None])[0])
        self.units[j + 1 : j + count] += np.diff(units)

    def _sum_masked(self, rows: Ints, got: Whole, held: Ints, j: int, sign: int) -> None:
        """Add (or take out) the part of any rows, as far as they take part."""
        before = got[:, :-1].astype(np.int64)
        takes_part = before < self._left[rows][:, None]
        context = before + (self._context[rows][:, None] + 1)
        span = slice(j, j + before.shape[1])
        self.tokens[span] += sign * np.diff(got.sum(axis=0, dtype=np.int64))
        self.contexts[span] += sign * (context * takes_part).sum(axis=0)
        for sums, cap in zip(self.capped, self._caps, strict=True):
            sums[span] += sign * (np.minimum(context, cap) * takes_part).sum(axis=0)
        grows = self._grows[rows]
        if not grows.any():
            return
        reach = np.minimum(context + (self.tree.tokens - 1), self._limit[rows][:, None])
        np.maximum(reach, context, out=reach)
        reach *= takes_part
        reach[:, 0] = np.maximum(reach[:, 0], held)
        np.maximum.accumulate(reach, axis=1, out=reach)
        units = self._units(np.concatenate([held[:, None], reach], axis=1)[grows])
        self.units[span] += sign * np.diff(units)

    def _units(self, tokens: Whole) -> Ints:
        """(steps,) KV units of all rows of (rows, steps) tokens."""
        total = np.zeros(tokens.shape[1], dtype=np.int64)
        for g in self._groups:
            kept = tokens if g.cap_tokens is None else np.minimum(tokens, g.cap_tokens)
            blocks = (kept + (self._block - 1)) // self._block
            total += g.units * blocks.sum(axis=0, dtype=np.int64)
        return total
