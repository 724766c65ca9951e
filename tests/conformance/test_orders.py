"""What every order of the waiting line owes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sim import plugins
from sim.engine.orders import Line
from sim.engine.sequence import Sequence
from sim.workload.request import Request

FOLDER = "sim.engine.orders"
names = pytest.mark.parametrize("name", plugins.names(FOLDER))


def line(name: str) -> Line:
    return plugins.load(FOLDER, name)().start()


def sequence(number: int, prompt: int, preempted: bool = False) -> Sequence:
    made = Sequence(ask=Request(number, 0.0, prompt, 1), number=number, target=prompt)
    made.computed_before = int(preempted)
    return made


@names
@given(prompts=st.lists(st.integers(1, 5), max_size=12))
def test_whoever_is_pushed_is_popped_once(name: str, prompts: list[int]) -> None:
    waiting = line(name)
    pushed = [sequence(i, p) for i, p in enumerate(prompts)]
    for one in pushed:
        waiting.push(one)
    popped = []
    while len(waiting):
        head = waiting.peek()
        popped.append(waiting.pop())
        assert popped[-1] is head
    assert sorted(s.number for s in popped) == list(range(len(prompts)))


@names
@given(n=st.integers(1, 10))
def test_equal_ones_keep_their_order_of_arrival(name: str, n: int) -> None:
    waiting = line(name)
    for i in range(n):
        waiting.push(sequence(i, 7))
    assert [waiting.pop().number for _ in range(n)] == list(range(n))


@names
@given(prompts=st.lists(st.integers(1, 50), min_size=1, max_size=8), back=st.integers(1, 50))
def test_who_was_sent_back_goes_before_those_who_never_ran(
    name: str, prompts: list[int], back: int
) -> None:
    waiting = line(name)
    for i, p in enumerate(prompts):
        waiting.push(sequence(i, p))
    victim = sequence(99, back, preempted=True)
    waiting.push_back(victim)
    assert waiting.pop() is victim


@names
@given(prompts=st.lists(st.integers(1, 9), min_size=1, max_size=9), data=st.data())
def test_one_who_is_taken_out_leaves_the_others_in_their_order(
    name: str, prompts: list[int], data: st.DataObject
) -> None:
    whole, rest = line(name), line(name)
    pushed = [sequence(i, p) for i, p in enumerate(prompts)]
    gone = data.draw(st.sampled_from(pushed))
    for one in pushed:
        whole.push(one)
        if one is not gone:
            rest.push(one)
    assert {s.number for s in whole} == {s.number for s in pushed}
    whole.remove(gone)
    assert [whole.pop() for _ in range(len(whole))] == [rest.pop() for _ in range(len(rest))]


@names
def test_lines_are_independent(name: str) -> None:
    one, other = line(name), line(name)
    one.push(sequence(0, 1))
    assert len(other) == 0
