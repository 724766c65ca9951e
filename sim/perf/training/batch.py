"""What a step trains on: sequences packed into micro-batches, dealt to data-parallel replicas."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from sim.errors import ScenarioError
from sim.perf.shape import capped_pairs, pairs

LINEAR_TOKENS = 24_576
"""Length at which attention asks for as many operations as the matrices: 6·h (arXiv 2104.04473,
equation 3), h = 4096. What sequences are balanced by, as in veRL (`calculate_workload`)."""


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
            f"training: batch of {sequences} sequences of {length} tokens with micro_batch="
            f"{micro_batch} and dp={dp} is empty; write 1 or more for each"
        )
    if sequences % (micro_batch * dp):
        near = max(1, round(sequences / (micro_batch * dp))) * micro_batch * dp
        raise ScenarioError(
            f"training: batch={sequences} sequences is not a multiple of micro_batch · dp = "
            f"{micro_batch} · {dp}; try batch = {near}"
        )
    each = sequences // (micro_batch * dp)
    return Batch((((MicroBatch((length,) * micro_batch),) * each),) * dp)


def packed_batch(lengths: Iterable[int], max_tokens: int, dp: int, multiple: int = 1) -> Batch:
    """Sequences of any lengths in micro-batches of at most `max_tokens` tokens.

    Dealt to the replicas longest first, each to the one with the least work (`LINEAR_TOKENS`), then
    packed. All replicas get as many micro-batches as the one that
    needs most, and a multiple of `multiple` (interleaved schedules need one of pp): micro-batches
    are cut rather than left empty, because every replica takes part in every pass.
    """
    ordered = sorted(lengths, reverse=True)
    if len(ordered) < dp:
        raise ScenarioError(
            f"training: {len(ordered)} sequences are fewer than dp={dp} replicas; "
            f"lower dp to {max(1, len(ordered))} or train on more sequences"
        )
    if ordered[0] > max_tokens:
        raise ScenarioError(
            f"training: max_tokens={max_tokens} per micro-batch is less than the longest sequence "
            f"({ordered[0]} tokens); raise it to {ordered[0]}"
        )
    dealt = _deal(ordered, dp)
    needed = max(len(first_fit(mine, max_tokens)) for mine in dealt)
    count = -(-needed // multiple) * multiple
    if count > min(len(mine) for mine in dealt):
        raise ScenarioError(
            f"training: {count} micro-batches per replica are more than the "
            f"{min(len(mine) for mine in dealt)} sequences of a replica; raise max_tokens="
            f"{max_tokens} or lower dp={dp}"
        )
    return Batch(tuple(_spread(mine, count, max_tokens) for mine in dealt))


def first_fit(lengths: Iterable[int], max_tokens: int) -> tuple[MicroBatch, ...]:
    """First fit by decreasing length: at most 11/9 of the fewest possible micro-batches, and a few
    more (Johnson 1973)."""
    bins: list[list[int]] = []
    room: list[int] = []
    for n in sorted(lengths, reverse=True):
        at = next((i for i, free in enumerate(room) if free >= n), None)
        if at is None:
            bins.append([n])
            room.append(max_tokens - n)
        else:
            bins[at].append(n)
            room[at] -= n
    return tuple(MicroBatch(tuple(b)) for b in bins)


def _deal(ordered: list[int], dp: int) -> list[list[int]]:
    """To the replica with the least work so far."""
    dealt: list[list[int]] = [[] for _ in range(dp)]
    work = [0] * dp
    for n in ordered:
        at = min(range(dp), key=work.__getitem__)
        dealt[at].append(n)
        work[at] += n * (LINEAR_TOKENS + n)
    return dealt


def _spread(lengths: list[int], count: int, max_tokens: int) -> tuple[MicroBatch, ...]:
    """Exactly `count` micro-batches: first fit, then the ones with most sequences are cut in two.

    `count` is at least what first fit needs and at most the number of sequences."""
    bins = [list(m.lengths) for m in first_fit(lengths, max_tokens)]
    while len(bins) < count:
        fullest = max(bins, key=len)
        bins.append([fullest.pop() for _ in range(len(fullest) // 2)])
    return tuple(MicroBatch(tuple(b)) for b in bins)
