"""What a step costs the simulator: counted, never timed."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

import pytest
from helpers import generated, planned, play, serving, steady

from sim.clock import Clock
from sim.scenario import simulation
from sim.scenario.build import Built, build


@contextmanager
def counting_events() -> Iterator[list[int]]:
    """How many events SimPy processes."""
    count, step = [0], Clock.step

    def counted(self: Clock) -> None:
        step(self)
        count[0] += 1

    Clock.step = counted  # type: ignore[method-assign]
    try:
        yield count
    finally:
        Clock.step = step  # type: ignore[method-assign]


def decoding(members: int, output: int = 400, leap: bool = False) -> dict[str, Any]:
    """All come at once with prompts of 1 token, so that all decode from the first step on."""
    engine = {"max_num_seqs": 256, "max_num_batched_tokens": 256}
    pools = {"serve": {"timer": steady(0.01), "engine": engine}}
    return serving(generated(members, 1, output, "at_once"), pools=pools, leap=leap)


@pytest.mark.parametrize("members", [1, 200])
def test_a_step_is_one_event_however_many_take_part(members: int) -> None:
    with counting_events() as count:
        run = play(decoding(members))
    steps = len(run.table("clock"))
    assert steps == 400
    overhead = count[0] - steps
    assert 0 <= overhead <= 2 * members + 10


def test_a_leap_is_one_event_for_many_steps() -> None:
    with counting_events() as count:
        run = play(decoding(8, output=4000, leap=True))
    assert len(run.table("clock")) == 4000
    assert count[0] < 60


def test_all_arrivals_of_one_instant_are_one_event() -> None:
    counts = []
    for members in (1, 200):
        with counting_events() as count:
            play(decoding(members, output=10))
        counts.append(count[0])
    assert counts[1] == counts[0]


def test_arrivals_cost_a_few_events_each() -> None:
    """Steps and arrivals interleave: about one event a step, and at most three an arrival (the
    arrival, and the decision and the wake-up that it may cause)."""
    tree = decoding(1) | {
        "workload": generated(300, 20, 10, {"poisson": {"rate_per_s": 20.0}}),
    }
    with counting_events() as count:
        run = play(tree)
    assert count[0] <= len(run.table("clock")) + 3 * 300 + 10


def calls_per_step(members: int, first: int = 100, last: int = 200) -> float:
    """Python and C calls per step between two steps of a steady decode."""
    built = build(planned(decoding(members)), None)
    return _count_calls(built, first * 0.01 + 0.005, last * 0.01 + 0.005) / (last - first)


def _count_calls(built: Built, begin_s: float, end_s: float) -> int:
    clock, calls = built.clock, 0

    def note(frame: FrameType, event: str, argument: object) -> None:
        nonlocal calls
        calls += event in ("call", "c_call")

    while clock.peek() < begin_s:
        clock.step()
    sys.setprofile(note)
    try:
        while clock.peek() < end_s:
            clock.step()
    finally:
        sys.setprofile(None)
    return calls


def test_a_decode_step_costs_the_same_with_8_members_as_with_256() -> None:
    few, many = calls_per_step(8), calls_per_step(256)
    print(f"\ncalls per step: {few:.1f} with 8 members, {many:.1f} with 256")
    assert many <= few + 1
    assert few < 60


def test_a_decode_step_of_lockstep_ranks_costs_by_rank_not_by_member() -> None:
    def tree(members: int) -> dict[str, Any]:
        whole = decoding(members)
        pool = whole["pools"]["serve"] | {"layout": {"dp_attention": {"dp": 4}}}
        return whole | {
            "pools": {"serve": pool}, "model": "qwen3-30b-a3b", "topology": "dgx_h100",
        }  # fmt: skip

    counts = [_count_calls(build(planned(tree(n)), None), 1.005, 2.005) / 100 for n in (16, 256)]
    assert counts[1] <= counts[0] + 1


def test_a_verify_step_costs_the_same_with_8_members_as_with_256() -> None:
    """What they get is drawn for all at once, 64 steps ahead."""

    def tree(members: int) -> dict[str, Any]:
        whole = decoding(members, output=1200)
        draft = {"eagle": {"acceptance": {"iid": 0.75}}}
        pool = whole["pools"]["serve"] | {"speculation": draft}
        pool["engine"] = pool["engine"] | {"max_num_batched_tokens": 1024}
        return whole | {"pools": {"serve": pool}}

    def calls(members: int) -> float:
        return _count_calls(build(planned(tree(members)), None), 1.005, 3.005) / 200

    few, many = calls(8), calls(256)
    print(f"\ncalls per verify step: {few:.1f} with 8 members, {many:.1f} with 256")
    assert many <= few + 2
    assert few < 120


def test_simulate_drives_the_clock_it_was_given() -> None:
    """Guards the counts above: the run goes through `Clock.step` and nothing else."""
    driver: Callable[..., Any] = simulation._drive
    assert "step" in driver.__code__.co_names
