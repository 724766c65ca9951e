"""What holds of every run in which engines speculate: random, crowded scenarios of every kind."""

from __future__ import annotations

from helpers import assert_same_tables
from helpers.cases import ONE_STAGE, Case, cases, speculating, split_cases
from helpers.drafts import every_stay_gave_what_was_drawn
from helpers.laws import all_holds
from hypothesis import given, settings
from hypothesis import strategies as st
from properties.test_meddling import AFTER_ARRIVALS, Deed, deeds, doing

from sim.scenario.build import Built


@given(case=speculating(cases(ONE_STAGE)))
@settings(max_examples=20)
def test_leaping_and_stepping_write_the_same_tables(case: Case) -> None:
    assert_same_tables(case.play(), case.play(leap=False))


@given(case=speculating(split_cases(("dense", "windows", "lockstep"), orders=("fcfs",))))
@settings(max_examples=20)
def test_leaping_and_stepping_agree_when_kv_is_handed_off(case: Case) -> None:
    assert_same_tables(case.play(), case.play(leap=False))


@given(case=speculating(st.one_of(cases(), split_cases(orders=("fcfs",)))))
@settings(max_examples=20)
def test_requests_tokens_blocks_and_time_are_conserved(case: Case) -> None:
    all_holds(case.play(), len(case.asks) if case.until_s is None else None)


@given(case=speculating(st.one_of(cases(), split_cases(orders=("fcfs",)))))
@settings(max_examples=20)
def test_a_request_gets_what_it_would_have_drawn_whatever_happens_to_it(case: Case) -> None:
    run = case.but(draft_length="fixed").play()
    plan = next(p.drafting for p in run.plan.pools if p.drafting is not None)
    every_stay_gave_what_was_drawn(run, plan.draft.acceptance, plan.most)


@given(
    case=speculating(cases(ONE_STAGE, until=False)),
    todo=deeds("abort", "resume", "rerate", "pause"),
    lags=st.lists(st.tuples(st.floats(0.0, 0.5), st.integers(0, 3)), max_size=3),
)
@settings(max_examples=20)
def test_leaping_and_stepping_agree_whatever_is_done_to_the_engines(
    case: Case, todo: list[Deed], lags: list[tuple[float, int]]
) -> None:
    """Faults, pauses, slow-downs, and drafts that fall behind the weights."""

    def meddle(built: Built) -> None:
        doing(todo)(built)
        for at_s, versions in lags:
            event = built.clock.at(at_s, AFTER_ARRIVALS - 1)
            for engine in built.pools[0].engines:
                event.callbacks.append(
                    lambda _, engine=engine, lag=versions: engine.levers.set_draft_lag(lag)
                )

    if case.speculation and "eagle" in case.speculation:
        eagle = case.speculation["eagle"]
        law = {"drift": {"of": eagle["acceptance"], "per_version": 0.8}}
        case = case.but(speculation={"eagle": eagle | {"acceptance": law}})
    one, other = case.play(meddle=meddle), case.play(leap=False, meddle=meddle)
    assert_same_tables(one, other)
    all_holds(one, len(case.asks))
