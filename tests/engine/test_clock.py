"""The order of what happens at one instant, and waits that are moved."""

from __future__ import annotations

import itertools
from collections.abc import Generator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sim.clock import ARRIVAL, DECIDE, FLOW, STEP_END, Clock

BANDS = {"step end": STEP_END, "flow": FLOW, "arrival": ARRIVAL, "decision": DECIDE}


@pytest.mark.parametrize("scheduled", list(itertools.permutations(BANDS)))
def test_within_an_instant_steps_end_then_flows_then_arrivals_then_decisions(
    scheduled: tuple[str, ...],
) -> None:
    clock, seen = Clock(), []
    for name in scheduled:
        clock.at(1.0, BANDS[name]).callbacks.append(lambda _, name=name: seen.append(name))
    clock.run()
    assert seen == list(BANDS)


@given(numbers=st.permutations(range(6)))
def test_ties_in_a_band_go_by_number_not_by_who_was_first(numbers: list[int]) -> None:
    clock, seen = Clock(), []
    for n in numbers:
        clock.at(1.0, STEP_END + n).callbacks.append(lambda _, n=n: seen.append(n))
    clock.run()
    assert seen == sorted(numbers)


def test_a_decision_waits_for_what_an_arrival_causes_at_the_same_instant() -> None:
    clock, seen = Clock(), []

    def arrival(_: Any) -> None:
        seen.append("arrival")
        clock.at(clock.now, STEP_END).callbacks.append(lambda _: seen.append("a step it cut"))
        clock.event().succeed().callbacks.append(lambda _: seen.append("a process it woke"))

    clock.at(2.0, DECIDE).callbacks.append(lambda _: seen.append("decision"))
    clock.at(2.0, ARRIVAL).callbacks.append(arrival)
    clock.run()
    assert seen == ["arrival", "a process it woke", "a step it cut", "decision"]


@given(steps=st.lists(st.floats(1e-9, 10.0), min_size=1, max_size=50))
def test_a_wait_until_a_time_ends_at_exactly_that_float(steps: list[float]) -> None:
    """SimPy's own `timeout(t − now)` would end at now + (t − now), which rounds."""
    clock, seen, expected = Clock(), [], []

    def walk() -> Generator[Any, None, None]:
        for seconds in steps:
            expected.append(clock.now + seconds)
            yield clock.at(expected[-1], STEP_END)
            seen.append(clock.now)

    clock.process(walk())
    clock.run()
    assert seen == expected


def test_a_moved_wait_ends_at_its_new_time_and_only_once() -> None:
    clock, seen = Clock(), []

    def sleeper() -> Generator[Any, None, None]:
        nonlocal waited
        waited = clock.at(10.0, STEP_END)
        yield waited
        seen.append(clock.now)

    waited: Any = None
    clock.process(sleeper())
    clock.at(3.0, ARRIVAL).callbacks.append(lambda _: clock.retime(waited, 4.0, STEP_END))
    clock.run()
    assert seen == [4.0]
    assert clock.now == 10.0  # the old wait is still there, with nobody listening


def test_a_wait_may_be_moved_many_times_and_later_as_well_as_earlier() -> None:
    clock, seen = Clock(), []
    waited = clock.at(5.0, STEP_END)
    waited.callbacks.append(lambda _: seen.append(clock.now))
    for time_s in (3.0, 8.0, 6.0):
        waited = clock.retime(waited, time_s, STEP_END)
    clock.run()
    assert seen == [6.0]


def test_the_instant_is_open_while_something_else_is_due_now() -> None:
    clock, seen = Clock(), []
    for order in (STEP_END, ARRIVAL):
        clock.at(1.0, order).callbacks.append(lambda _: seen.append(clock.instant_is_open()))
    clock.at(1.5, ARRIVAL).callbacks.append(lambda _: seen.append(clock.instant_is_open()))
    clock.run()
    assert seen == [True, False, False]
