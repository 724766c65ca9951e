"""What holds of every run in which engines speculate: random, crowded scenarios of every kind."""

from __future__ import annotations

from helpers import assert_same_tables
from helpers.cases import ONE_STAGE, Case, cases, speculating, split_cases
from helpers.laws import all_holds
from hypothesis import given, settings
from hypothesis import strategies as st


@given(case=speculating(cases(ONE_STAGE)))
@settings(max_examples=60)
def test_leaping_and_stepping_write_the_same_tables(case: Case) -> None:
    assert_same_tables(case.play(), case.play(leap=False))


@given(case=speculating(split_cases(("dense", "windows", "lockstep"), orders=("fcfs",))))
@settings(max_examples=30)
def test_leaping_and_stepping_agree_when_kv_is_handed_off(case: Case) -> None:
    assert_same_tables(case.play(), case.play(leap=False))


@given(case=speculating(st.one_of(cases(), split_cases(orders=("fcfs",)))))
@settings(max_examples=60)
def test_requests_tokens_blocks_and_time_are_conserved(case: Case) -> None:
    all_holds(case.play(), len(case.asks) if case.until_s is None else None)
