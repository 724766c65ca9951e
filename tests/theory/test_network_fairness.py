"""Max-min fairness: each bundle is at its cap, or has a full link on which none is faster."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sim.clock import Clock
from sim.network.fabrics.flows import Flows
from sim.network.sharing import fill
from sim.network.topology import load_topology

CLOSE_TO = 1e-9
TOPOLOGY = load_topology("dgx_h100", nodes=3, oversubscription=3.0)


@st.composite
def bundles(draw: st.DrawFn) -> tuple[list[int], list[float], list[list[tuple[int, int]]], list]:
    """Members, caps, crossings and capacities of a random component."""
    n = draw(st.integers(1, 6))
    capacities = draw(st.lists(st.floats(1.0, 1000.0), min_size=n, max_size=n))
    count = draw(st.integers(1, 12))
    members, caps, links = [], [], []
    for _ in range(count):
        members.append(draw(st.integers(1, 8)))
        chosen = draw(st.lists(st.integers(0, n - 1), min_size=1, max_size=n, unique=True))
        links.append([(link, draw(st.integers(1, 8))) for link in sorted(chosen)])
        caps.append(draw(st.one_of(st.just(float("inf")), st.floats(0.1, 500.0))))
    return members, caps, links, capacities


def check_max_min(
    members: list[int],
    caps: list[float],
    links: list[list[tuple[int, int]]],
    capacities: dict[int, float],
    rates: list[float],
) -> None:
    levels = [rate / m for rate, m in zip(rates, members, strict=True)]
    load: dict[int, float] = {}
    highest: dict[int, float] = {}
    for level, crossings in zip(levels, links, strict=True):
        for link, times in crossings:
            load[link] = load.get(link, 0.0) + level * times
            highest[link] = max(highest.get(link, 0.0), level)
    for link, value in load.items():
        assert value <= capacities[link] * (1 + CLOSE_TO)
    for rate, cap, level, crossings in zip(rates, caps, levels, links, strict=True):
        assert rate <= cap * (1 + CLOSE_TO)
        at_cap = rate >= cap * (1 - CLOSE_TO)
        held = any(
            load[link] >= capacities[link] * (1 - CLOSE_TO)
            and level >= highest[link] * (1 - CLOSE_TO)
            for link, _ in crossings
        )
        assert at_cap or held


@given(bundles())
def test_filling_is_max_min_fair(case: tuple) -> None:
    members, caps, links, capacities = case
    rates = fill(members, caps, links, capacities)
    check_max_min(members, caps, links, dict(enumerate(capacities)), rates)


@given(bundles(), st.randoms(use_true_random=False))
def test_the_order_of_bundles_does_not_matter(case: tuple, random: object) -> None:
    members, caps, links, capacities = case
    order = list(range(len(members)))
    random.shuffle(order)  # type: ignore[attr-defined]
    rates = fill(members, caps, links, capacities)
    shuffled = fill(
        [members[i] for i in order],
        [caps[i] for i in order],
        [links[i] for i in order],
        capacities,
    )
    assert shuffled == pytest.approx([rates[i] for i in order])


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.lists(st.tuples(st.integers(0, 23), st.integers(0, 23)), min_size=1, max_size=3),
            st.floats(1e6, 1e9),
            st.floats(0.0, 1e-3),
            st.sampled_from([3e9, 20e9, float("inf")]),
        ),
        min_size=1,
        max_size=25,
    ),
    st.floats(0.0, 2e-3),
)
def test_at_any_time_the_running_fabric_is_max_min_fair(sends: list, when: float) -> None:
    """Though it fills only the components that changed, and only over contended links."""
    clock = Clock()
    fabric = Flows().start(
        SimpleNamespace(clock=clock, topology=TOPOLOGY, log=SimpleNamespace(links=list))
    )
    for pairs, nbytes, at, cap in sends:
        event = clock.at(at, 0)
        event.callbacks.append(
            lambda _, p=pairs, b=nbytes, c=cap: fabric.send(
                TOPOLOGY.bundle(p), b, lambda: None, rate_cap_bytes_per_s=c
            )
        )
    while clock.peek() <= when:
        clock.step()
    flows = [f for f in fabric.active.values() if f.bundle.links]
    check_max_min(
        [f.bundle.members for f in flows],
        [min(f.bound, f.bundle.alone_bytes_per_s) for f in flows],
        [list(f.bundle.links) for f in flows],
        {link.index: link.capacity_bytes_per_s for link in TOPOLOGY.links},
        [f.rate for f in flows],
    )


def test_n_equal_flows_into_one_device_each_get_an_nth() -> None:
    clock = Clock()
    fabric = Flows().start(
        SimpleNamespace(clock=clock, topology=TOPOLOGY, log=SimpleNamespace(links=list))
    )
    ends: list[float] = []
    for src in range(8, 24):
        fabric.send(TOPOLOGY.bundle([(src, 0)]), 50e6, lambda: ends.append(clock.now))
    clock.run()
    longest = max(TOPOLOGY.route(src, 0).latency_s for src in range(8, 24))
    assert max(ends) == pytest.approx(16 * 50e6 / 50e9 + longest)
