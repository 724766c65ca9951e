"""Packing sequences into micro-batches, and playing many of them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sim.errors import ScenarioError
from sim.perf.training import Batch, mini_batches, packed_batch
from sim.perf.training.batch import LINEAR_TOKENS, best_fit
from sim.perf.training.play import Times, play
from sim.perf.training.schedules import order

LENGTHS = st.lists(st.integers(1, 4096), min_size=1, max_size=200)


def sequences(batch: Batch) -> list[int]:
    return sorted(n for replica in batch.replicas for micro in replica for n in micro.lengths)


@given(LENGTHS)
def test_best_fit_loses_nothing_and_overfills_nothing(lengths: list[int]) -> None:
    bins = best_fit(sorted(lengths, reverse=True), 4096)
    assert sorted(n for b in bins for n in b) == sorted(lengths)
    assert all(0 < sum(b) <= 4096 for b in bins)


@given(LENGTHS)
def test_no_two_micro_batches_of_best_fit_would_fit_into_one(lengths: list[int]) -> None:
    """A micro-batch is opened only for a length that none before it had room for."""
    totals = sorted(map(sum, best_fit(sorted(lengths, reverse=True), 4096)))
    assert len(totals) < 2 or totals[0] + totals[1] > 4096


@given(LENGTHS)
def test_lengths_that_divide_each_other_are_packed_without_a_gap(lengths: list[int]) -> None:
    """Powers of two, longest first: every micro-batch but the last is full."""
    rounded = sorted((1 << (n - 1).bit_length() for n in lengths), reverse=True)
    assert len(best_fit(rounded, 4096)) == -(-sum(rounded) // 4096)


def test_arrays_and_lists_pack_alike() -> None:
    lengths = np.random.default_rng(0).integers(10, 4000, 500)
    assert packed_batch(lengths, 8192, 4) == packed_batch(lengths.tolist(), 8192, 4)


def test_replicas_share_the_work_of_a_heavy_tail() -> None:
    """65,536 samples over 16 replicas: greedy dealing leaves at most one sequence's work between
    the busiest and the idlest."""
    drawn = np.random.default_rng(1).lognormal(7.4, 1.0, 65536)
    lengths = np.clip(drawn, 16, 32768).astype(int)
    batch = packed_batch(lengths, 33000, 16)
    assert sequences(batch) == sorted(lengths.tolist())
    work = [sum(m.tokens * LINEAR_TOKENS + m.squares for m in r) for r in batch.replicas]
    longest = int(lengths.max())
    assert max(work) - min(work) <= longest * (LINEAR_TOKENS + longest)
    fewest = -(-int(lengths.sum()) // (16 * 33000))
    assert len(batch.replicas[0]) <= 1.02 * fewest + 1


def test_one_long_sequence_does_not_leave_a_replica_too_little_to_cut() -> None:
    """Dealt by work alone, the replica of the longest sequence would have one sequence for two
    micro-batches."""
    batch = packed_batch([32000, *[10000] * 6], 32000, 2)
    assert [len(r) for r in batch.replicas] == [2, 2]


def test_mini_batches_keep_the_order_and_every_sample() -> None:
    lengths = np.random.default_rng(2).integers(10, 4000, 1003)
    made = mini_batches(lengths, 4, 8192, 8)
    assert [b.sequences for b in made] == [251, 251, 251, 250]
    assert sequences(made[0]) == sorted(lengths[:251].tolist())
    assert sum(b.tokens for b in made) == lengths.sum()


def test_too_many_mini_batches_are_refused() -> None:
    with pytest.raises(ScenarioError, match=r"mini_batches=4 of 12 .*lower it to 3"):
        mini_batches([100] * 12, 4, 8192, 4)


def relaxed(schedule: str, forward: Times, backward: Times, m: int, send: float) -> float:
    """The same pipeline as equations: every pass starts when the pass before it in its stage and
    its input have ended; iterated from zero until nothing changes."""
    p, v = len(forward), len(forward[0])
    last = p * v - 1
    ends: dict[tuple[bool, int, int], float] = {}
    changed = True
    while changed:
        changed = False
        for i in range(p):
            free = 0.0
            for ahead, chunk, j in order(schedule, p, m, v, i):
                place = chunk * p + i
                source = (True, place - 1) if ahead else (False, place + 1)
                if not ahead and place == last:
                    source = (True, last)
                way = send if source[1] % p != i else 0.0
                ready = ends.get((*source, j), 0.0) + way if source[1] >= 0 else 0.0
                side = forward if ahead else backward
                free = max(free, ready) + side[i][chunk][j]
                if ends.get((ahead, place, j)) != free:
                    ends[ahead, place, j], changed = free, True
    return max(ends.values())


@given(
    st.sampled_from([("gpipe", 1), ("1f1b", 1), ("interleaved", 2)]),
    st.integers(2, 4),
    st.integers(1, 3),
    st.integers(0, 2**31),
)
def test_the_player_solves_the_equations_of_the_schedule(
    kind: tuple[str, int], p: int, groups: int, seed: int
) -> None:
    schedule, v = kind
    m, draw = p * groups, np.random.default_rng(seed)
    forward, backward = (
        tuple(tuple(tuple(c) for c in stage) for stage in draw.uniform(0.1, 3.0, (p, v, m)))
        for _ in range(2)
    )
    played = play(schedule, forward, backward, m, 0.25, overlapped=True)
    assert played.seconds == pytest.approx(relaxed(schedule, forward, backward, m, 0.25), rel=1e-12)
