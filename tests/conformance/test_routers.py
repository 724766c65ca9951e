"""What every router, admission and placement owes."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from helpers import Ask, play_asks, steady
from helpers.laws import all_holds
from hypothesis import given, settings
from hypothesis import strategies as st

from sim import plugins
from sim.cluster.view import View
from sim.network.plan import Device
from sim.rng import Draws
from sim.workload.request import Request

ROUTERS, ADMISSIONS, PLACEMENTS = (
    f"sim.cluster.{kind}" for kind in ("routers", "admissions", "placements")
)
routers = pytest.mark.parametrize("name", plugins.names(ROUTERS))
admissions = pytest.mark.parametrize("name", plugins.names(ADMISSIONS))
placements = pytest.mark.parametrize("name", plugins.names(PLACEMENTS))

LOADS = st.lists(st.tuples(st.integers(0, 50), st.integers(0, 10_000)), min_size=1, max_size=12)


def view(loads: list[tuple[int, int]]) -> View:
    """Seats with so many requests and prompt tokens; no caches."""
    from sim.engine.ports import ONE_REQUEST

    def zero(*_: object) -> int:
        return 0

    made = View(np.array([n * ONE_REQUEST + t for n, t in loads], dtype=np.int64))
    idle = SimpleNamespace(
        settle=lambda: None,
        ranks=[SimpleNamespace(prefixes=SimpleNamespace(match=lambda _: [], saved_tokens=zero))],
    )
    made.seat_engines([idle for _ in loads])  # type: ignore[misc]
    return made


@routers
@given(loads=LOADS, asks=st.lists(st.integers(0, 1000), max_size=10), seed=st.integers(0, 9))
def test_a_seat_that_exists_is_picked(
    name: str, loads: list[tuple[int, int]], asks: list[int], seed: int
) -> None:
    seats = view(loads)
    route = plugins.load(ROUTERS, name)().start(Draws(seed, "router"))
    for number in asks:
        seat = route.pick(Request(number, 0.0, 10, 1, (1, 2), 16), seats)
        assert isinstance(seat, int)
        assert 0 <= seat < len(loads)


@routers
@given(loads=LOADS, numbers=st.lists(st.integers(0, 100), max_size=10))
def test_the_same_draws_and_views_give_the_same_seats(
    name: str, loads: list[tuple[int, int]], numbers: list[int]
) -> None:
    picks = []
    for _ in range(2):
        route = plugins.load(ROUTERS, name)().start(Draws(3, "router"))
        seats = view(loads)
        picks.append([route.pick(Request(n, 0.0, 10, 1), seats) for n in numbers])
    assert picks[0] == picks[1]


@routers
@given(loads=LOADS)
def test_looking_changes_nothing(name: str, loads: list[tuple[int, int]]) -> None:
    seats = view(loads)
    before = np.array(seats.load).tolist()
    plugins.load(ROUTERS, name)().start(Draws(0, "router")).pick(Request(1, 0.0, 9, 1), seats)
    assert np.array(seats.load).tolist() == before


@routers
@given(n=st.integers(1, 15), engines=st.integers(1, 4))
@settings(max_examples=10)
def test_all_requests_are_served_and_no_engine_is_forgotten(
    name: str, n: int, engines: int
) -> None:
    """Many at once: no router sends everything to one of several idle engines."""
    asks = [Ask(0.001 * i, 20, 5) for i in range(8 * n)]
    played = play_asks(
        asks,
        topology={"name": "single_gpu", "nodes": 4},
        pools={"serve": {"timer": steady(1.0), "engines": engines}},
        deployment={"aggregated": {"router": name}},
    )
    all_holds(played, len(asks))
    used = played.requests["prefill_engine"].nunique()
    assert used > 1 or engines == 1


@admissions
@given(n=st.integers(1, 12))
@settings(max_examples=10)
def test_whoever_is_not_let_in_is_reported_as_rejected(name: str, n: int) -> None:
    setting = {name: {"requests": 3}} if name == "limit" else name
    played = play_asks(
        [Ask(0.0, 5, 5) for _ in range(n)],
        pools={"serve": {"timer": steady(1.0)}},
        admission=setting,
    )
    all_holds(played, n)
    turned = played.requests[played.requests["state"] == "rejected"]
    assert len(turned) == (max(0, n - 3) if name == "limit" else 0)
    assert (turned["reason"] == "admission").all()


DEVICES = st.lists(st.tuples(st.integers(0, 3), st.booleans()), min_size=1, max_size=24)


@placements
@given(devices=DEVICES, wanted=st.integers(1, 12))
def test_an_engine_gets_free_devices_of_one_node_where_that_is_possible(
    name: str, devices: list[tuple[int, bool]], wanted: int
) -> None:
    nodes = sorted(n for n, _ in devices)
    free = [
        Device(index=i, name=str(i), gpu="h100", node=n, rack=0, rail=0)
        for i, n in enumerate(nodes)
        if devices[i][1]
    ]
    if not free:
        return
    chosen = plugins.load(PLACEMENTS, name)().pick(free, wanted)
    if len(free) < wanted:
        assert chosen is None
        return
    assert chosen is not None
    assert len(chosen) == wanted == len({d.index for d in chosen})
    assert all(d in free for d in chosen)
    largest = max(sum(d.node == n for d in free) for n in set(nodes))
    if largest >= wanted:
        assert len({d.node for d in chosen}) == 1
