"""What every fabric owes, run over whatever files the folder holds."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Annotated

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from playground import Play, rails, star
from pydantic import TypeAdapter, ValidationError

from sim import plugins
from sim.clock import Clock
from sim.errors import BrokenInvariant
from sim.network.fabric import FabricPolicy
from sim.network.topology import Topology
from sim.record.log import Log

FOLDER = "sim.network.fabrics"
fabrics = pytest.mark.parametrize("name", plugins.names(FOLDER))
TOPOLOGY = rails(3, oversubscription=2.0, leaf_ports=2)

SENDS = st.lists(
    st.tuples(
        st.lists(st.tuples(st.integers(0, 11), st.integers(0, 11)), min_size=1, max_size=4),
        st.integers(0, 3000),
        st.integers(0, 20),
        st.sampled_from([5.0, 30.0, float("inf")]),
    ),
    min_size=1,
    max_size=12,
)


def play_all(name: str, sends: list, bin_s: float = 1.0) -> Play:
    play = Play(plugins.load(FOLDER, name)(bin_s=bin_s), TOPOLOGY)
    for pairs, nbytes, at, cap in sends:
        play.send(pairs, float(nbytes), at=float(at), cap=cap)
    play.run()
    return play


def expected_bytes(topology: Topology, sends: list) -> dict[int, float]:
    total: dict[int, float] = {}
    for pairs, nbytes, _, _ in sends:
        bundle = topology.bundle(pairs)
        for link, times in bundle.links:
            total[link] = total.get(link, 0.0) + nbytes * times / bundle.members
    return {link: b for link, b in total.items() if b}


@fabrics
@pytest.mark.parametrize("pairs", [[(0, 1)], [(0, 4)], [(0, 5)], [(0, 4), (1, 5)]])
def test_alone_on_its_links_it_takes_latency_plus_bytes_over_bandwidth(
    name: str, pairs: list[tuple[int, int]]
) -> None:
    play = Play(plugins.load(FOLDER, name)(), TOPOLOGY)
    bundle = TOPOLOGY.bundle(pairs)
    play.send(pairs, 1234.5)
    assert play.run() == {0: bundle.latency_s + 1234.5 / bundle.alone_bytes_per_s}


@fabrics
def test_a_cap_bounds_the_whole_bundle(name: str) -> None:
    play = Play(plugins.load(FOLDER, name)(), star(5))
    play.send([(0, 2), (1, 3)], 100.0, cap=10.0)
    assert play.run() == {0: 10.0}


@fabrics
def test_to_the_same_device_only_the_latency_passes(name: str) -> None:
    play = Play(plugins.load(FOLDER, name)(), TOPOLOGY)
    play.send([(3, 3)], 1e9, at=2.0)
    assert play.run() == {0: 2.0}
    assert play.rows() == []


@fabrics
@settings(max_examples=30, deadline=None)
@given(sends=SENDS)
def test_every_transfer_ends_once_and_no_sooner_than_alone(name: str, sends: list) -> None:
    play = play_all(name, sends)
    assert sorted(play.ended) == list(range(len(sends)))
    for number, (pairs, nbytes, at, cap) in enumerate(sends):
        bundle = TOPOLOGY.bundle(pairs)
        least = at + bundle.latency_s + nbytes / min(bundle.alone_bytes_per_s, cap)
        assert play.ended[number] >= least * (1 - 1e-12)


@fabrics
@settings(max_examples=30, deadline=None)
@given(sends=SENDS, bin_s=st.sampled_from([0.3, 1.0, 7.0]))
def test_bytes_are_conserved_on_every_link(name: str, sends: list, bin_s: float) -> None:
    play = play_all(name, sends, bin_s)
    expected = expected_bytes(TOPOLOGY, sends)
    assert play.fabric.link_bytes() == pytest.approx(expected, rel=1e-9)
    rows = play.rows()
    summed: dict[int, float] = {}
    for link, _, nbytes, _ in rows:
        summed[link] = summed.get(link, 0.0) + nbytes
    assert summed == pytest.approx(expected, rel=1e-9)
    assert play.fabric.link_bytes() == pytest.approx(expected, rel=1e-9)


@fabrics
@settings(max_examples=30, deadline=None)
@given(sends=SENDS, bin_s=st.sampled_from([0.3, 1.0, 7.0]))
def test_rows_are_in_order_of_bin_and_link_and_busy_no_longer_than_the_bin(
    name: str, sends: list, bin_s: float
) -> None:
    rows = play_all(name, sends, bin_s).rows()
    keys = [(bin_start, link) for link, bin_start, _, _ in rows]
    assert keys == sorted(set(keys))
    for link, _, nbytes, busy_s in rows:
        assert 0.0 < busy_s <= bin_s * (1 + 1e-9)
        if name != "alone":
            capacity = TOPOLOGY.links[int(link)].capacity_bytes_per_s
            assert nbytes <= capacity * busy_s * (1 + 1e-9) + 1e-6


@fabrics
@settings(max_examples=20, deadline=None)
@given(sends=SENDS)
def test_the_same_sends_give_the_same_run_to_the_last_bit(name: str, sends: list) -> None:
    first, second = play_all(name, sends), play_all(name, sends)
    assert list(first.ended.items()) == list(second.ended.items())
    assert first.rows() == second.rows()


@fabrics
def test_what_is_under_way_is_settled_at_the_end_of_the_run(name: str) -> None:
    play = Play(plugins.load(FOLDER, name)(), star(2))
    play.send([(0, 1)], 1000.0, at=0.5)
    play.clock.run(until=2.25)
    assert play.fabric.link_bytes() == {0: 175.0, 3: 175.0}
    assert play.rows() == [
        (0, 0.0, 50.0, 0.5),
        (3, 0.0, 50.0, 0.5),
        (0, 1.0, 100.0, 1.0),
        (3, 1.0, 100.0, 1.0),
        (0, 2.0, 25.0, 0.25),
        (3, 2.0, 25.0, 0.25),
    ]
    assert play.fabric.link_bytes() == {0: 175.0, 3: 175.0}


@fabrics
def test_complete_bins_are_written_while_the_run_goes_on_and_change_nothing(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    sends = [([(i % 4, 4 + i % 5)], 700, i, float("inf")) for i in range(20)]
    whole = play_all(name, sends)
    monkeypatch.setattr("sim.network.ledger.MANY_CELLS", 10)
    pieces = play_all(name, sends)
    assert pieces.emitted
    assert pieces.ended == pytest.approx(whole.ended)
    assert pieces.rows() == [pytest.approx(row) for row in whole.rows()]


@fabrics
@pytest.mark.parametrize(
    ("nbytes", "cap"), [(-1.0, 1.0), (float("nan"), 1.0), (float("inf"), 1.0), (1.0, 0.0)]
)
def test_senseless_sends_are_a_broken_invariant(name: str, nbytes: float, cap: float) -> None:
    play = Play(plugins.load(FOLDER, name)(), star(2))
    play.send([(0, 1)], nbytes, cap=cap)
    with pytest.raises(BrokenInvariant, match="cannot send"):
        play.run()


@fabrics
def test_rows_fit_the_table_of_the_log(name: str) -> None:
    clock, log = Clock(), Log(None)
    services = SimpleNamespace(clock=clock, topology=star(2), log=log)
    fabric = plugins.load(FOLDER, name)().start(services)
    fabric.send(star(2).bundle([(0, 1)]), 150.0, lambda: None)
    clock.run()
    fabric.settle(clock.now)
    log.close()
    table = log.writers["links"].kept().to_pydict()
    assert table == {
        "link": [0, 3, 0, 3],
        "bin_s": [0.0, 0.0, 1.0, 1.0],
        "bytes": [100.0, 100.0, 50.0, 50.0],
        "busy_s": [1.0, 1.0, 0.5, 0.5],
    }


@fabrics
def test_settings_can_be_written_and_are_checked(name: str) -> None:
    decoder = TypeAdapter(Annotated[FabricPolicy, plugins.policy(FOLDER)])
    policy = decoder.validate_python({name: {"bin_s": "100 ms"}})
    assert policy.bin_s == 0.1
    with pytest.raises(ValidationError):
        plugins.load(FOLDER, name)(bin_s=0.0)
