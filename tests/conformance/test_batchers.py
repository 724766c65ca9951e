"""What every batcher owes a rank, whatever files the folder holds."""

from __future__ import annotations

import pytest
from helpers import Ask, play_asks, steady
from helpers.laws import all_holds
from hypothesis import given, settings
from hypothesis import strategies as st

from sim import plugins

names = pytest.mark.parametrize("name", plugins.names("sim.engine.batchers"))
ASKS = st.lists(
    st.builds(
        Ask,
        arrival_s=st.just(0.0),
        prompt=st.integers(1, 120),
        output=st.integers(1, 12),
    ),
    min_size=1,
    max_size=10,
)


def run(name: str, asks: list[Ask], **engine: int):
    limits = {"max_num_seqs": 4, "max_num_batched_tokens": 32, "block_size": 16}
    pool = {"timer": steady(1.0), "engine": limits | engine | {"batcher": name}}
    return play_asks(asks, pools={"serve": pool})


@names
@given(asks=ASKS)
@settings(max_examples=15)
def test_everybody_is_served(name: str, asks: list[Ask]) -> None:
    played = run(name, asks)
    all_holds(played, len(asks))
    assert (played.requests["state"] == "finished").all()


@names
@given(asks=ASKS, seqs=st.integers(1, 6), extra=st.integers(0, 30))
@settings(max_examples=15)
def test_a_step_keeps_the_limits(name: str, asks: list[Ask], seqs: int, extra: int) -> None:
    played = run(name, asks, max_num_seqs=seqs, max_num_batched_tokens=seqs + extra)
    steps = played.table("steps")
    assert (steps["decodes"] + steps["prefill_tokens"] <= seqs + extra).all()
    assert (steps["decodes"] <= seqs).all()
    assert (steps["prefills"] <= seqs).all()


@names
@given(asks=ASKS)
@settings(max_examples=15)
def test_no_step_is_empty(name: str, asks: list[Ask]) -> None:
    steps = run(name, asks).table("steps")
    assert (steps["decodes"] + steps["prefill_tokens"] > 0).all()


@names
def test_requests_of_the_same_shape_are_begun_in_order(name: str) -> None:
    asks = [Ask(0.0, 20, 5) for _ in range(10)]
    begun = run(name, asks).requests["first_step_s"]
    assert begun.is_monotonic_increasing


@names
def test_an_engine_does_not_rest_while_somebody_waits(name: str) -> None:
    """All are there from the start: the clock has no gap until the end."""
    played = run(name, [Ask(0.0, 3 + 17 * i % 90, 1 + i % 7) for i in range(20)])
    ends = sorted(played.table("clock")["end_s"])
    assert ends == [float(i + 1) for i in range(len(ends))]
