"""Micro-batches that skip stages."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sim.errors import ScenarioError
from sim.perf.training.schedules import pipeline_s
from sim.perf.training.skipping import around, play_paths, skipped_s, skipping_paths


def played(p: int, m: int, skipped: int, flying: int | None = None, send: float = 0.0) -> float:
    sends = [[send] * p for _ in range(p)]
    paths = skipping_paths(p, m, skipped)
    return play_paths(paths, [1.0] * p, [2.0] * p, sends, flying or 2 * p).seconds


@pytest.mark.parametrize("p, m", [(1, 4), (4, 8), (8, 32), (20, 40)])
def test_skipping_nothing_is_a_plain_pipeline(p: int, m: int) -> None:
    assert played(p, m, 0, flying=p) == pytest.approx(pipeline_s(p, m, 1.0, 2.0))
    assert skipped_s(p, m, 1.0, 2.0, 0.0) == pipeline_s(p, m, 1.0, 2.0)


@given(st.integers(2, 10), st.integers(1, 4), st.integers(1, 9))
def test_no_stage_works_less_than_its_share(p: int, rounds: int, skipped: int) -> None:
    skipped = skipped % p
    m = p * rounds
    share = skipped / p
    seconds = played(p, m, skipped)
    assert seconds >= m * (1 - share) * 3.0 - 1e-9
    assert seconds <= pipeline_s(p, m, 1.0, 2.0) * 1.05


@pytest.mark.parametrize("p, m", [(8, 32), (20, 40)])
def test_skipping_half_the_stages_halves_the_iteration(p: int, m: int) -> None:
    """arXiv 2502.19913: up to half an iteration less; the share that is skipped bounds it but for
    the shorter filling of the pipeline."""
    saved = 1.0 - played(p, m, p // 2) / played(p, m, 0, flying=p)
    assert 0.5 <= saved < 0.55
    assert played(p, m, p // 2) == pytest.approx(skipped_s(p, m, 1.0, 2.0, 0.5), rel=0.05)


def test_paths_that_avoid_a_slow_link_save_more_than_they_skip() -> None:
    """Why skipping pays more where networks are uneven: of four stages, one is far away."""
    p, m = 4, 16
    sends = [[0.0 if 2 not in (a, b) else 6.0 for b in range(p)] for a in range(p)]
    times = [1.0] * p, [2.0] * p
    all_ = play_paths(skipping_paths(p, m, 0), *times, sends, p).seconds
    near = play_paths(around(skipping_paths(p, m, 0), 2), *times, sends, p).seconds
    assert near < 0.75 * all_


def test_training_goes_on_around_a_failed_stage() -> None:
    paths = around(skipping_paths(4, 8, 1), 2)
    assert all(2 not in path and path for path in paths)
    made = play_paths(paths, [1.0] * 4, [2.0] * 4, [[0.0] * 4] * 4, 8)
    assert made.busy_s[2] == 0.0 < made.busy_s[1]


def test_every_stage_is_skipped_as_often() -> None:
    paths = skipping_paths(6, 12, 2)
    assert [sum(s in path for path in paths) for s in range(6)] == [8] * 6


def test_skipping_every_stage_is_refused() -> None:
    with pytest.raises(ScenarioError, match="write 0 to 3"):
        skipping_paths(4, 8, 4)
