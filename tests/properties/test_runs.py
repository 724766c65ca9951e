"""What holds of every run: random, crowded scenarios of every kind (see `helpers/cases.py`)."""

from __future__ import annotations

import pytest
from helpers import Ask, Run, assert_same_tables, play, play_asks, serving, steady, traced
from helpers.cases import ONE_STAGE, Case, cases, split_cases
from helpers.laws import (
    all_holds,
    everybody_is_accounted_for,
    recomputed_tokens_are_those_computed_twice,
)
from hypothesis import example, given, settings
from hypothesis import strategies as st

from sim.errors import ScenarioError

ENGINE = {
    "block_size": 4,
    "max_num_seqs": 2,
    "max_num_batched_tokens": 2,
    "batcher": "chunked_prefill",
    "order": "fcfs",
    "preemption": "recompute",
    "eviction": "lru",
    "enable_prefix_caching": True,
}


def crowd(*asks: Ask, machine: str = "dense", room: float = 1.0, **engine: object) -> Case:
    """A case that was once found to be hard, by hand."""
    return Case(machine, asks, 4, ENGINE | engine, steady(1.0), room)


WAITING_FOR_ROOM = crowd(Ask(0.0, 1, 6), Ask(0.0, 1, 8))
PREFILL_SENT_BACK = crowd(Ask(0.0, 1, 8), Ask(0.0, 1, 5), batcher="prefill_first")
SENT_BACK_TWICE = crowd(Ask(0.0, 1, 9), Ask(0.0, 2, 4))
BORN_AT_THE_WINDOW = Case(
    "windows",
    (Ask(0.02, 129, 8), Ask(0.04, 125, 1), Ask(0.06, 15, 4)),
    8,
    ENGINE | {"block_size": 8, "max_num_seqs": 8, "max_num_batched_tokens": 15},
    steady(0.01),
    10.0,
)
ONE_DECODES_WHILE_OTHERS_HOLD_THE_ROOM = crowd(
    *(Ask(0.0, 1, n) for n in (1, 1, 5, 2)), max_num_seqs=1, max_num_batched_tokens=1
).but(
    split={"pair_at": "arrival"},
    decode_engine={"max_num_seqs": 1, "max_num_batched_tokens": 22},
    decode_room=1.0,
)


@given(case=cases(ONE_STAGE))
@settings(max_examples=50)
@example(case=WAITING_FOR_ROOM)
@example(case=PREFILL_SENT_BACK)
def test_leaping_and_stepping_write_the_same_tables(case: Case) -> None:
    assert_same_tables(case.play(), case.play(leap=False))


@given(case=split_cases(("dense", "lockstep", "windows"), orders=("fcfs",)))
@settings(max_examples=50)
@example(
    case=crowd(Ask(0.0, 1, 14), Ask(0.0, 100, 5), max_num_seqs=1, max_num_batched_tokens=17).but(
        split={"pair_at": "arrival"},
        decode_engine={"max_num_seqs": 2, "max_num_batched_tokens": 22},
        decode_room=1.0,
    )
)
def test_leaping_and_stepping_agree_when_kv_is_handed_off(case: Case) -> None:
    assert_same_tables(case.play(), case.play(leap=False))


@given(case=cases())
@settings(max_examples=50)
@example(case=BORN_AT_THE_WINDOW)
def test_requests_tokens_blocks_and_time_are_conserved(case: Case) -> None:
    all_holds(case.play(), len(case.asks) if case.until_s is None else None)


@given(case=split_cases(orders=("fcfs",)))
@settings(max_examples=50)
@example(case=ONE_DECODES_WHILE_OTHERS_HOLD_THE_ROOM)
def test_both_pools_full_ends(case: Case) -> None:
    all_holds(case.play(), len(case.asks) if case.until_s is None else None)


def test_room_is_not_promised_in_one_order_and_used_in_another() -> None:
    """With `pair_at: arrival` decode room is promised in order of arrival. If prompts overtook each
    other, both pools could fill up with those who wait for each other: the scenario is refused."""
    case = Case(
        "dense",
        (Ask(0.0, 1, 1),),
        4,
        ENGINE | {"order": "shortest_prompt"},
        steady(1.0),
        1.0,
        split={"pair_at": "arrival"},
        decode_room=1.0,
    )
    with pytest.raises(ScenarioError, match="overtake"):
        case.play()


@given(case=split_cases(orders=("shortest_prompt",)))
@settings(max_examples=20)
def test_both_pools_full_ends_when_prompts_overtake_each_other(case: Case) -> None:
    split = (case.split or {}) | {"pair_at": "prefill_end", "stream": False}
    run = case.but(until_s=None, split=split).play()
    all_holds(run, len(case.asks))
    assert (run.requests["state"] == "finished").all()


@given(case=st.one_of(cases(until=False), split_cases(orders=("fcfs",))))
@settings(max_examples=40)
@example(case=crowd(Ask(0.0, 4, 1, (0,)), Ask(0.0, 5, 1, (0, 1))))
def test_the_routers_view_is_empty_when_all_have_gone(case: Case) -> None:
    run = case.but(until_s=None).play()
    assert [int(x) for e in run.engines for x in e.gauges.load] == [0] * sum(
        len(e.ranks) for e in run.engines
    )


@given(case=cases(until=False))
@settings(max_examples=40)
@example(case=SENT_BACK_TWICE)
def test_tokens_counted_as_recomputed_are_those_computed_twice(case: Case) -> None:
    case = case.but(engine=case.engine | {"preemption": "recompute"}, room=1.3)
    recomputed_tokens_are_those_computed_twice(case.play())


@given(case=st.one_of(cases(), split_cases(orders=("fcfs",))))
@settings(max_examples=15)
def test_the_same_scenario_gives_the_same_tables(case: Case) -> None:
    assert_same_tables(case.play(), case.play())


@given(case=cases(ONE_STAGE, until=False), share=st.floats(0.05, 0.95))
@settings(max_examples=25)
def test_a_run_cut_short_is_the_beginning_of_the_whole(case: Case, share: float) -> None:
    """What has ended until then is as in the whole run, and the clock is a prefix of its clock."""
    whole = case.play()
    end = float(whole.requests["end_s"].max()) * share
    part = case.but(until_s=end).play()
    all_holds(part)
    early = whole.requests[whole.requests["end_s"] <= end]
    ended = part.requests[part.requests["state"] != "unfinished"]
    assert ended.reset_index(drop=True).equals(early.reset_index(drop=True))
    clock = whole.table("clock")
    assert part.table("clock").equals(clock[clock["end_s"] <= end].reset_index(drop=True))


def fcfs_alone(asks: tuple[Ask, ...], step_s: float, leap: bool = True) -> Run:
    engine = {"max_num_seqs": 4, "max_num_batched_tokens": 64}
    with traced(asks) as workload:
        pools = {"serve": {"timer": steady(step_s), "engine": engine}}
        return play(serving(workload, pools=pools, leap=leap))


LOADS = st.lists(
    st.tuples(st.floats(0.0, 0.2), st.integers(1, 200), st.integers(1, 20)), min_size=1, max_size=20
)


def arriving(load: list[tuple[float, int, int]]) -> tuple[Ask, ...]:
    now, asks = 0.0, []
    for gap, prompt, output in load:
        now += gap
        asks.append(Ask(now, prompt, output))
    return tuple(asks)


@given(load=LOADS, faster=st.floats(0.2, 1.0))
@settings(max_examples=40)
def test_a_faster_gpu_never_makes_the_last_request_later(
    load: list[tuple[float, int, int]], faster: float
) -> None:
    """One engine, first come first served, no preemption: shorter steps end everything sooner.
    (Single requests may well be later: a faster engine lets in fewer at a time.)"""
    asks = arriving(load)
    slow = fcfs_alone(asks, 0.02).requests
    fast = fcfs_alone(asks, 0.02 * faster).requests
    longest_step = 0.02
    assert fast["end_s"].max() <= slow["end_s"].max() + longest_step + 1e-9


@given(load=LOADS, factor=st.sampled_from([0.5, 2.0, 4.0]))
@settings(max_examples=25)
def test_time_has_no_unit_of_its_own(load: list[tuple[float, int, int]], factor: float) -> None:
    """Arrivals and steps stretched by a power of two stretch every time by exactly that."""
    asks = arriving(load)
    stretched = tuple(Ask(a.arrival_s * factor, a.prompt, a.output) for a in asks)
    one, other = fcfs_alone(asks, 0.02), fcfs_alone(stretched, 0.02 * factor)
    for column in ("first_step_s", "first_token_s", "end_s"):
        assert (one.requests[column] * factor == other.requests[column]).all()


def test_a_client_who_does_not_declare_a_maximum_is_served_or_refused() -> None:
    """Without a declared maximum `preemption: none` reserves the whole context. A pool smaller
    than that can never let the request in."""
    pools = {"serve": {"timer": steady(1.0), "engine": {"preemption": "none"}}}
    run = play_asks([Ask(0.0, 20, 40)], units=100, pools=pools)
    everybody_is_accounted_for(run, 1)


@given(answer=st.integers(1, 100), prompt=st.integers(1, 100))
@settings(max_examples=20)
@example(answer=100, prompt=40)
def test_ids_of_the_answers_blocks_do_not_disturb_the_pool(answer: int, prompt: int) -> None:
    """A trace may name the blocks of the answer too: the next turn's prompt contains it."""
    ids = tuple(range(-(-(prompt + answer) // 16)))
    asks = [
        Ask(0.0, prompt, answer, ids),
        Ask(1000.0, prompt + answer, 5, (*ids[: (prompt + answer) // 16], 999)),
    ]
    run = play_asks(asks, pools={"serve": {"timer": steady(1.0), "engine": {"block_size": 16}}})
    all_holds(run, 2)
    assert (run.table("steps")["cached_blocks"] >= 0).all()
    assert run.requests["cached_tokens"][1] <= prompt + answer - 1
