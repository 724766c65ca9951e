"""What every preemption and every eviction owes."""

from __future__ import annotations

import pytest
from helpers import Ask, play_asks, steady
from helpers.laws import all_holds
from hypothesis import given, settings
from hypothesis import strategies as st

from sim import plugins
from sim.engine.sequence import Sequence
from sim.workload.request import Request

PREEMPTIONS, EVICTIONS = "sim.engine.preemptions", "sim.kvcache.evictions"
preemptions = pytest.mark.parametrize("name", plugins.names(PREEMPTIONS))
evictions = pytest.mark.parametrize("name", plugins.names(EVICTIONS))


@preemptions
@given(
    asks=st.lists(
        st.tuples(st.integers(1, 30), st.integers(1, 40), st.integers(0, 20)),
        min_size=1,
        max_size=8,
    ),
    room=st.sampled_from([0, 1, 5]),
)
@settings(max_examples=25)
def test_a_crowded_pool_serves_everybody(
    name: str, asks: list[tuple[int, int, int]], room: int
) -> None:
    need = max(-(-(p + o + more) // 4) for p, o, more in asks) + room
    engine = {"max_num_seqs": 8, "max_num_batched_tokens": 16, "block_size": 4, "preemption": name}
    played = play_asks(
        [Ask(0.0, p, o, max_tokens=o + more) for p, o, more in asks],
        units=need,
        pools={"serve": {"timer": steady(1.0), "engine": engine}},
    )
    all_holds(played, len(asks))
    assert (played.requests["state"] == "finished").all()


@preemptions
@given(prompt=st.integers(1, 100), declared=st.one_of(st.none(), st.integers(1, 100)))
def test_what_is_reserved_is_enough_or_nothing(
    name: str, prompt: int, declared: int | None
) -> None:
    ask = Request(0, 0.0, prompt, 1, max_tokens=declared)
    one = Sequence(ask=ask, number=0, target=prompt)
    tokens = plugins.load(PREEMPTIONS, name)().reservation_tokens(one, 150)
    assert tokens is None or min(150, prompt + (declared or 150)) <= tokens <= 150


@preemptions
def test_a_victim_is_one_of_those_offered(name: str) -> None:
    offered = [Sequence(ask=Request(i, 0.0, 1, 1), number=i, target=1) for i in range(3)]
    policy = plugins.load(PREEMPTIONS, name)()
    assert policy.victim(iter(offered)) in (None, *offered)
    assert policy.victim(iter([])) is None


@evictions
@given(keys=st.lists(st.integers(0, 9), unique=True, max_size=10))
def test_every_kept_block_is_given_up_once(name: str, keys: list[int]) -> None:
    evictor = plugins.load(EVICTIONS, name)().start()
    kept = [k for k in keys if evictor.add(k)]
    again = kept[::2]
    for key in again:
        evictor.remove(key)
    left = [k for k in kept if k not in again]
    assert sorted(evictor.victim() for _ in left) == sorted(left)


@evictions
def test_a_policy_keeps_all_or_nothing(name: str) -> None:
    evictor = plugins.load(EVICTIONS, name)().start()
    assert len({evictor.add(k) for k in range(5)}) == 1


@evictions
@given(families=st.lists(st.integers(0, 2), min_size=1, max_size=10))
@settings(max_examples=15)
def test_shared_prefixes_never_change_what_is_generated(name: str, families: list[int]) -> None:
    asks = [Ask(10.0 * i, 40, 5, (100 * f, 100 * f + 1, 1000 + i)) for i, f in enumerate(families)]
    engine = {"max_num_seqs": 4, "max_num_batched_tokens": 64, "eviction": name}
    played = play_asks(asks, units=8, pools={"serve": {"timer": steady(1.0), "engine": engine}})
    all_holds(played, len(asks))
    cached = played.requests["cached_tokens"]
    assert cached.isin([0, 32]).all()
    assert cached[0] == 0
