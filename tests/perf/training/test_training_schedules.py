"""Pipelines: the player agrees with closed forms, and with measured iterations."""

from __future__ import annotations

import pytest

from sim.perf.training.play import Times, play
from sim.perf.training.schedules import (
    bubble_fraction,
    in_flight,
    interleaved_s,
    order,
    pipeline_s,
    zb_h1_s,
    zero_bubble_s,
)

F, B = 1.0, 2.0


def equal(p: int, v: int, seconds: float) -> Times:
    return (((seconds / v,),) * v,) * p


@pytest.mark.parametrize("schedule", ["gpipe", "1f1b"])
@pytest.mark.parametrize("p, m", [(1, 4), (2, 2), (4, 8), (8, 128), (8, 5)])
def test_equal_stages_take_the_closed_form(schedule: str, p: int, m: int) -> None:
    played = play(schedule, equal(p, 1, F), equal(p, 1, B), m)
    assert played.seconds == pytest.approx(pipeline_s(p, m, F, B))
    assert played.seconds / (m * (F + B)) - 1 == pytest.approx(bubble_fraction(p, m))


@pytest.mark.parametrize("p, m, v", [(2, 4, 2), (4, 4, 2), (4, 8, 2), (8, 32, 4), (5, 15, 3)])
def test_interleaved_stages_take_the_closed_form(p: int, m: int, v: int) -> None:
    played = play("interleaved", equal(p, v, F), equal(p, v, B), m)
    assert played.seconds == pytest.approx(interleaved_s(p, m, v, F, B))
    assert played.seconds / (m * (F + B)) - 1 == pytest.approx(bubble_fraction(p, m, v))


def test_zero_bubble_bounds_lie_below() -> None:
    """ZB-H1 has a third of 1F1B's bubble when F, B and W take as long."""
    p, m = 8, 32
    plain, h1 = pipeline_s(p, m, 1.0, 2.0), zb_h1_s(p, m, 1.0, 2.0, 1.0)
    assert (h1 - 3.0 * m) / (plain - 3.0 * m) == pytest.approx(1 / 3)
    assert zero_bubble_s(m, (3.0,) * p) == 3.0 * m
    assert play("zero_bubble", equal(p, 1, 1.0), equal(p, 1, 2.0), m).seconds == 3.0 * m


@pytest.mark.parametrize("schedule, v", [("gpipe", 1), ("1f1b", 1), ("interleaved", 3)])
@pytest.mark.parametrize("stage", [0, 1, 3])
def test_orders_do_everything_once_and_forward_first(schedule: str, v: int, stage: int) -> None:
    p, m = 4, 12
    done = order(schedule, p, m, v, stage)
    assert len(done) == len(set(done)) == 2 * m * v
    at = {work: k for k, work in enumerate(done)}
    assert all(at[(True, c, j)] < at[(False, c, j)] for _, c, j in done)
    flying = peak = 0
    for forward, _, _ in done:
        flying += 1 if forward else -1
        peak = max(peak, flying)
    assert peak / v == pytest.approx(in_flight(schedule, p, m, v, stage))


def test_unequal_micro_batches_are_played_one_by_one() -> None:
    """Two stages, two micro-batches, by hand: F0 1, F1 3; backward twice as long."""
    times = ((1.0, 3.0),), ((1.0, 3.0),)
    back = ((2.0, 6.0),), ((2.0, 6.0),)
    assert play("gpipe", times, back, 2).seconds == 1 + 3 + 3 + 2 + 6 + 6
    assert play("1f1b", times, back, 2).seconds == 1 + 1 + 2 + 3 + 6 + 6


def test_sends_hold_up_a_stage_unless_they_overlap() -> None:
    p, m, send = 4, 16, 0.1
    args = ("1f1b", equal(p, 1, F), equal(p, 1, B), m, send)
    held, hidden, none = (
        play(*args).seconds,
        play(*args, True).seconds,
        play(*args[:4]).seconds,
    )
    assert none < hidden < held
    assert hidden >= none + 2 * (p - 1) * send - 1e-9


# Stage times in ms of 8 A100, PP8, 128 micro-batches, and measured iterations: artifact of arXiv
# 2411.05288 (sail-sg/VocabularyParallelism).
MEASURED = [
    ((10.6, 10.6, 10.5, 10.7, 10.4, 10.4, 10.4, 36.8),
     (25.2, 21.1, 20.7, 21.1, 20.8, 21.0, 20.8, 52.4), 11722),
    ((10.6, 10.6, 10.6, 10.6, 10.4, 10.5, 10.5, 24.2),
     (23.3, 21.0, 21.0, 21.2, 20.8, 21.2, 21.1, 37.6), 8203),
    ((10.7, 10.7, 10.7, 10.6, 10.5, 10.6, 10.4, 17.7),
     (22.6, 21.3, 21.2, 21.1, 21.2, 21.4, 21.0, 29.8), 6410),
    ((10.8, 10.9, 10.7, 10.6, 10.6, 10.7, 10.6, 14.6),
     (22.0, 21.5, 21.1, 21.3, 21.3, 21.4, 21.4, 26.0), 5490),
    ((24.2, 23.7, 23.3, 23.6, 23.5, 23.4, 23.6, 76.5),
     (50.4, 45.6, 45.1, 45.3, 45.5, 45.2, 45.7, 106.8), 23959),
    ((24.2, 23.6, 23.4, 23.4, 23.4, 23.5, 23.4, 50.9),
     (48.1, 45.5, 45.0, 45.3, 45.6, 45.6, 45.4, 77.2), 16932),
    ((24.3, 23.8, 23.7, 23.8, 23.5, 23.9, 23.6, 37.9),
     (47.8, 45.6, 45.9, 46.1, 45.5, 45.8, 45.8, 63.8), 13577),
    ((24.4, 24.2, 23.9, 23.9, 23.6, 23.8, 23.6, 31.6),
     (47.6, 46.6, 46.4, 46.5, 46.3, 46.3, 46.2, 56.5), 11825),
]  # fmt: skip


@pytest.mark.parametrize("forward, backward, measured", MEASURED)
def test_measured_stage_times_give_the_measured_iteration(
    forward: tuple[float, ...], backward: tuple[float, ...], measured: float
) -> None:
    times = [tuple(((x,),) for x in side) for side in (forward, backward)]
    assert play("1f1b", times[0], times[1], 128).seconds == pytest.approx(measured, rel=0.02)
