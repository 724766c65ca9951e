"""What a step trains on: sequences packed into micro-batches, dealt to data-parallel replicas."""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from heapq import heapify, heappop, heappush, heapreplace

import numpy as np
from numpy.typing import NDArray

from sim.errors import ScenarioError
from sim.perf.shape import capped_pairs, pairs

LINEAR_TOKENS = 24_576
"""Length at which attention asks for as many operations as the matrices: 6·h (arXiv 2104.04473,
equation 3), h = 4096. What sequences are balanced by, as in veRL (`calculate_workload`)."""


Lengths = Iterable[int] | NDArray[np.integer]
"""Tokens of sequences."""

_INDEX_BITS = 32
_INDEX_MASK = (1 << _INDEX_BITS) - 1


@dataclass(frozen=True, slots=True)
class MicroBatch:
    """Sequences that go through the model together, back to back and without padding."""

    lengths: tuple[int, ...]
    """Tokens of every sequence."""

    @property
    def tokens(self) -> int:
        """Tokens of all sequences."""
        return sum(self.lengths)

    @property
    def squares(self) -> int:
        """Σ length²: query-key pairs when nothing is masked, as papers count operations."""
        return sum(n * n for n in self.lengths)

    def pairs(self, window: int | None = None) -> int:
        """Causal query-key pairs, every query limited to its last `window` keys."""
        if window is None:
            return sum(pairs(0, n) for n in self.lengths)
        return sum(capped_pairs(0, n, window) for n in self.lengths)


@dataclass(frozen=True, slots=True)
class Batch:
    """One step's work: for every data-parallel replica its micro-batches, in order."""

    replicas: tuple[tuple[MicroBatch, ...], ...]

    @property
    def tokens(self) -> int:
        """Tokens of the whole step."""
        return sum(m.tokens for replica in self.replicas for m in replica)

    @property
    def squares(self) -> int:
        """Σ length² of the whole step."""
        return sum(m.squares for replica in self.replicas for m in replica)

    @property
    def sequences(self) -> int:
        """Sequences of the whole step."""
        return sum(len(m.lengths) for replica in self.replicas for m in replica)


def even_batch(sequences: int, length: int, micro_batch: int, dp: int) -> Batch:
    """`sequences` of the same `length`, `micro_batch` of them at a time in each of `dp` replicas.

    Raises ScenarioError when they do not divide.
    """
    if min(sequences, length, micro_batch, dp) < 1:
        raise ScenarioError(
            f"rl.trainer: batch of {sequences} sequences of {length} tokens with micro_batch="
            f"{micro_batch} and dp={dp} is empty; write 1 or more for each"
        )
    if sequences % (micro_batch * dp):
        near = max(1, round(sequences / (micro_batch * dp))) * micro_batch * dp
        raise ScenarioError(
            f"rl.trainer: batch={sequences} sequences is not a multiple of micro_batch · dp = "
            f"{micro_batch} · {dp}; try batch = {near}"
        )
    each = sequences // (micro_batch * dp)
    return Batch((((MicroBatch((length,) * micro_batch),) * each),) * dp)


def packed_batch(lengths: Lengths, max_tokens: int, dp: int, multiple: int = 1) -> Batch:
    """Sequences of any lengths in micro-batches of at most `max_tokens` tokens.

    Dealt to the replicas longest first, each to the one with the least work (`LINEAR_TOKENS`), then
    packed. All replicas get as many micro-batches as the one that
    needs most, and a multiple of `multiple` (interleaved schedules need one of pp): micro-batches
    are cut rather than left empty, because every replica takes part in every pass. Where that
    leaves a replica with too few sequences to cut, all get equally many (veRL's `equal_size`).
    """
    ordered = np.sort(np.fromiter(lengths, dtype=np.int64))[::-1].tolist()
    if len(ordered) < dp:
        raise ScenarioError(
            f"rl.trainer: {len(ordered)} sequences are fewer than dp={dp} replicas; "
            f"lower dp to {max(1, len(ordered))} or train on more sequences"
        )
    if ordered[0] > max_tokens:
        raise ScenarioError(
            f"rl.trainer: max_tokens={max_tokens} per micro-batch is less than the longest "
            f"sequence ({ordered[0]} tokens); raise it to {ordered[0]}"
        )
    for most in (len(ordered), -(-len(ordered) // dp)):
        dealt = _deal(ordered, dp, most)
        packed = [best_fit(mine, max_tokens) for mine in dealt]
        count = -(-max(map(len, packed)) // multiple) * multiple
        if count <= min(map(len, dealt)):
            return Batch(tuple(_cut(bins, count) for bins in packed))
    raise ScenarioError(
        f"rl.trainer: {count} micro-batches per replica are more than the "
        f"{min(map(len, dealt))} sequences of a replica; raise max_tokens="
        f"{max_tokens} or lower dp={dp}"
    )


def mini_batches(
    lengths: Lengths, count: int, max_tokens: int, dp: int, multiple: int = 1
) -> tuple[Batch, ...]:
    """`count` batches of nearly as many sequences each, in the order given: the optimiser steps
    that one set of samples is trained on, packed as `packed_batch` does.

    Raises ScenarioError where there are too few sequences for so many.
    """
    each = np.array_split(np.fromiter(lengths, dtype=np.int64), count)
    if len(each[-1]) < dp:
        total = sum(map(len, each))
        raise ScenarioError(
            f"rl.trainer: mini_batches={count} of {total} sequences leave fewer than one for each "
            f"of dp={dp} replicas; lower it to {max(1, total // dp)}"
        )
    return tuple(packed_batch(part, max_tokens, dp, multiple) for part in each)


def best_fit(ordered: Sequence[int], max_tokens: int) -> list[list[int]]:
    """Lengths, longest first, each into the fullest micro-batch that has room: at most 11/9 of the
    fewest possible and a few more (Johnson 1973). Micro-batches are kept in order of their room,
    so a length costs a binary search."""
    bins: list[list[int]] = []
    rooms: list[int] = []
    for n in ordered:
        at = bisect_left(rooms, n << _INDEX_BITS)
        if at == len(rooms):
            room, which = max_tokens, len(bins)
            bins.append([])
        else:
            key = rooms.pop(at)
            room, which = key >> _INDEX_BITS, key & _INDEX_MASK
        bins[which].append(n)
        insort(rooms, (room - n) << _INDEX_BITS | which)
    return bins


def _deal(ordered: list[int], dp: int, most: int) -> list[list[int]]:
    """To the replica with the least work so far that has fewer than `most` sequences."""
    dealt: list[list[int]] = [[] for _ in range(dp)]
    least = [(0, i) for i in range(dp)]
    for n in ordered:
        work, at = least[0]
        dealt[at].append(n)
        if len(dealt[at]) < most:
            heapreplace(least, (work + n * (LINEAR_TOKENS + n), at))
        else:
            heappop(least)
    return dealt


def _cut(bins: list[list[int]], count: int) -> tuple[MicroBatch, ...]:
    """Exactly `count` micro-batches: those with most sequences are cut in two.

    `count` is at least their number and at most the number of sequences."""
    fullest = [(-len(b), i) for i, b in enumerate(bins)]
    heapify(fullest)
    while len(bins) < count:
        _, at = fullest[0]
        half = len(bins[at]) // 2
        bins.append([bins[at].pop() for _ in range(half)])
        heapreplace(fullest, (-len(bins[at]), at))
        heappush(fullest, (-half, len(bins) - 1))
    return tuple(MicroBatch(tuple(b)) for b in bins)
