"""Faults, pauses and slow-downs at any moment: nothing is lost that is not reported as lost."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from helpers import Ask, Meddle, Run, assert_same_tables, play_asks, steady
from helpers.cases import ONE_STAGE, Case, cases, split_cases
from helpers.laws import all_holds, everybody_is_accounted_for, steps_cover_the_clock
from hypothesis import example, given, settings
from hypothesis import strategies as st

from sim.clock import ARRIVAL
from sim.scenario.build import Built

AFTER_ARRIVALS = ARRIVAL + 1000


@dataclass(frozen=True)
class Deed:
    """Something done to an engine at some time."""

    at_s: float
    lever: str
    engine: int = 0
    factor: float = 1.0


def doing(deeds: list[Deed]) -> Meddle:
    """Plan the deeds; in the end every engine runs at its own pace again."""

    def meddle(built: Built) -> None:
        engines = [e for p in built.pools for e in p.engines]

        def act(deed: Deed) -> None:
            levers = engines[deed.engine % len(engines)].levers
            levers.rerate(deed.factor) if deed.lever == "rerate" else getattr(levers, deed.lever)()

        last = max((d.at_s for d in deeds), default=0.0) + 0.01
        mend = [Deed(last, "resume", e) for e in range(len(engines))]
        for i, deed in enumerate([*deeds, *mend]):
            event = built.clock.at(deed.at_s, AFTER_ARRIVALS + i)
            event.callbacks.append(lambda _, deed=deed: act(deed))

    return meddle


def deeds(*levers: str) -> st.SearchStrategy[list[Deed]]:
    one = st.builds(
        Deed,
        at_s=st.one_of(st.floats(0.0, 0.5), st.sampled_from([0.0, 0.01, 0.02, 0.05, 0.1])),
        lever=st.sampled_from(levers),
        engine=st.integers(0, 3),
        factor=st.sampled_from([1.0, 1.5, 3.0]),
    )
    return st.lists(one, min_size=1, max_size=6)


def at_engine_0(*deeds: Deed, asks: tuple[Ask, ...]) -> Run:
    return play_asks(list(asks), pools={"serve": {"timer": steady(1.0)}}, meddle=doing(list(deeds)))


@given(case=cases(until=False), todo=deeds("pause", "resume", "rerate"))
@settings(max_examples=35)
def test_a_paused_or_slowed_engine_loses_nobody(case: Case, todo: list[Deed]) -> None:
    run = case.play(meddle=doing(todo))
    all_holds(run, len(case.asks))
    assert (run.requests["state"] == "finished").all()


@given(case=split_cases(orders=("fcfs",)), todo=deeds("pause", "resume", "rerate"))
@settings(max_examples=30)
def test_a_paused_or_slowed_engine_loses_no_handoff(case: Case, todo: list[Deed]) -> None:
    run = case.but(until_s=None).play(meddle=doing(todo))
    all_holds(run, len(case.asks))
    assert (run.requests["state"] == "finished").all()


@given(case=cases(until=False), todo=deeds("abort", "resume", "pause"))
@settings(max_examples=35)
def test_whoever_is_in_a_failing_engine_is_reported_as_failed(case: Case, todo: list[Deed]) -> None:
    run = case.play(meddle=doing(todo))
    all_holds(run, len(case.asks))
    assert set(run.requests["state"]) <= {"finished", "failed"}
    failed = run.requests[run.requests["state"] == "failed"]
    assert (failed["reason"] == "fault").all()
    assert set(failed["end_s"]) <= {d.at_s for d in todo if d.lever == "abort"}


@given(case=cases(until=False), todo=deeds("abort", "resume", "rerate"))
@settings(max_examples=30)
def test_the_seconds_of_a_lost_step_are_not_charged_to_those_before_it(
    case: Case, todo: list[Deed]
) -> None:
    steps_cover_the_clock(case.play(meddle=doing(todo)))


def test_a_fault_in_a_slowed_step_leaves_the_steps_before_it_as_they_were() -> None:
    """Steps of 1 s, three times as slow from 5.2 s on, and a fault at 6.5 s in the sixth."""
    run = at_engine_0(Deed(5.2, "rerate", factor=3.0), Deed(6.5, "abort"), asks=(Ask(0.0, 4, 50),))
    steps_cover_the_clock(run)
    assert run.table("steps")["contention_s"].sum() == 0.0


AN_EVICTION_LETS_THE_NEXT_IN = Case(
    machine="tensor",
    asks=(
        Ask(arrival_s=1e-06, prompt=10, output=5, ids=(10000,), max_tokens=None),
        Ask(
            arrival_s=0.03232749718704183,
            prompt=117,
            output=16,
            ids=(1000, 1001, 1002, 1003, 1004, 11000, 11001, 11002),
            max_tokens=None,
        ),
        Ask(arrival_s=0.05232749718704183, prompt=24, output=1, ids=(0, 12000), max_tokens=None),
        Ask(arrival_s=0.05232749718704183, prompt=9, output=26, ids=(13000,), max_tokens=None),
        Ask(arrival_s=0.05232749718704183, prompt=1, output=4, ids=(14000,), max_tokens=None),
        Ask(
            arrival_s=0.06232749718704183,
            prompt=124,
            output=55,
            ids=(2000, 2001, 2002, 15000, 15001, 15002, 15003, 15004),
            max_tokens=None,
        ),
        Ask(
            arrival_s=0.07232749718704183,
            prompt=137,
            output=4,
            ids=(1000, 1001, 1002, 1003, 16000, 16001, 16002, 16003, 16004),
            max_tokens=None,
        ),
        Ask(
            arrival_s=0.07232749718704183,
            prompt=108,
            output=24,
            ids=(2000, 2001, 17000, 17001, 17002, 17003, 17004),
            max_tokens=None,
        ),
    ),
    trace_block=16,
    engine={
        "block_size": 8,
        "max_num_seqs": 8,
        "max_num_batched_tokens": 8,
        "batcher": "chunked_prefill",
        "order": "fcfs",
        "preemption": "recompute",
        "eviction": "lru",
        "enable_prefix_caching": True,
    },
    timer={"constant": {"step_s": 0.01}},
    room=1.0,
    engines=2,
    router="round_robin",
    closed=3,
    split=None,
    decode_engine=None,
    decode_room=2.0,
    until_s=None,
)
"""While one waits for room, growth evicts the last block of its own prefix: it then holds less of
the cache, and fits. A leap over that moment would let it in later."""


@given(case=cases(ONE_STAGE, until=False), todo=deeds("abort", "resume", "rerate", "pause"))
@settings(max_examples=45)
@example(
    case=AN_EVICTION_LETS_THE_NEXT_IN,
    todo=[Deed(0.05, "pause"), Deed(0.26030921010499714, "pause")],
)
def test_leaping_and_stepping_agree_whatever_is_done_to_the_engines(
    case: Case, todo: list[Deed]
) -> None:
    meddle = doing(todo)
    assert_same_tables(case.play(meddle=meddle), case.play(leap=False, meddle=meddle))


@given(
    case=split_cases(("dense", "windows", "lockstep"), orders=("fcfs",)),
    todo=deeds("resume", "rerate", "pause"),
)
@settings(max_examples=30)
def test_leaping_and_stepping_agree_on_handoffs_between_slowed_engines(
    case: Case, todo: list[Deed]
) -> None:
    meddle = doing(todo)
    assert_same_tables(case.play(meddle=meddle), case.play(leap=False, meddle=meddle))


FOUR = (Ask(0.0, 4, 50), Ask(0.0, 8, 9), Ask(3.0, 8, 9), Ask(7.0, 4, 5))


@pytest.mark.parametrize("pair_at", ["arrival", "prefill_end"])
@pytest.mark.parametrize("engine", [0, 1], ids=["prefill engine", "decode engine"])
@pytest.mark.parametrize("at_s", [0.5, 1.0, 1.5, 2.0000001, 3.5])
def test_a_fault_during_a_handoff_fails_its_request_and_frees_both_ends(
    at_s: float, engine: int, pair_at: str
) -> None:
    slow = {"timer": steady(1.0), "engine": {"max_num_seqs": 1, "max_num_batched_tokens": 8}}
    run = play_asks(
        FOUR,
        topology={"name": "single_gpu", "nodes": 2},
        pools={"prefill": slow, "decode": {"timer": steady(1.0)}},
        deployment={"disaggregated": {"pair_at": pair_at}},
        meddle=doing([Deed(at_s, "abort", engine)]),
    )
    everybody_is_accounted_for(run, 4)
    assert [int(x) for e in run.engines for x in e.gauges.load] == [0, 0]


@given(case=split_cases(orders=("fcfs",)), todo=deeds("abort", "resume"))
@settings(max_examples=30)
@example(
    case=Case(
        "dense",
        FOUR,
        16,
        {
            "block_size": 16, "max_num_seqs": 1, "max_num_batched_tokens": 8,
            "batcher": "chunked_prefill", "order": "fcfs", "preemption": "recompute",
        },
        steady(1.0),
        10.0,
        split={"pair_at": "arrival"},
    ),
    todo=[Deed(1.5, "abort", 1)],
)  # fmt: skip
def test_faults_in_either_pool_lose_only_what_they_report(case: Case, todo: list[Deed]) -> None:
    run = case.but(until_s=None).play(meddle=doing(todo))
    all_holds(run, len(case.asks))


def test_a_rerated_step_ends_when_what_is_left_of_it_is_done() -> None:
    """Steps of 1 s. At 2.25 s three quarters of the third are left; at half speed they take
    1.5 s, so it ends at 3.75 s; at full speed again from 4.25 s, a quarter of the fourth is done
    and the rest ends at 5.0 s."""
    run = at_engine_0(
        Deed(2.25, "rerate", factor=2.0),
        Deed(4.25, "rerate", factor=1.0),
        asks=(Ask(0.0, 1, 5),),
    )
    assert run.table("clock")["end_s"].tolist() == [1.0, 2.0, 3.75, 5.0, 6.0]
    assert run.table("steps")["contention_s"].sum() == pytest.approx(0.75 + 0.25)


def test_a_pause_lets_the_pass_in_progress_end_and_a_resume_goes_on() -> None:
    run = at_engine_0(Deed(1.5, "pause"), Deed(4.0, "resume"), asks=(Ask(0.0, 1, 4),))
    assert run.table("clock")["end_s"].tolist() == [1.0, 2.0, 5.0, 6.0]
    states = run.table("engines")
    assert states["state"].tolist()[:3] == ["running", "paused", "running"]


def test_a_fault_keeps_the_steps_that_were_done() -> None:
    run = at_engine_0(Deed(3.5, "abort"), asks=(Ask(0.0, 1, 10), Ask(5.0, 1, 2)))
    assert run.table("clock")["end_s"].tolist() == [1.0, 2.0, 3.0, 6.0, 7.0]
    requests = run.requests
    assert requests["state"].tolist() == ["failed", "finished"]
    assert requests["generated_tokens"].tolist() == [3, 2]
    assert requests["end_s"].tolist() == [3.5, 7.0]


def test_a_fault_frees_the_stages_of_the_passes_that_it_lost() -> None:
    """A pass of 100 s through two stages is lost at 1 s; who comes at 2 s begins at 2 s."""
    pool = {"timer": steady(100.0), "layout": {"tensor": {"pp": 2}}}
    run = play_asks(
        [Ask(0.0, 4, 5), Ask(2.0, 4, 1)],
        topology="dgx_h100",
        pools={"serve": pool},
        meddle=doing([Deed(1.0, "abort"), Deed(1.5, "resume")]),
    )
    assert run.requests["first_step_s"].tolist() == [0.0, 2.0]
    assert run.requests["end_s"].tolist() == [1.0, 102.0]
