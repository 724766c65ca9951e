"""Collectives against their textbook formulae, on wires without software overhead."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sim import plugins
from sim.network.collectives import Algorithm, Group, Line, Tuning, default_collectives

UP, OUT, NEAR, FAR = 400e9, 50e9, 1e-6, 5e-6


def ideal(size: int, domains: int = 1) -> Group:
    return Group(size, domains, size // domains, UP, OUT, NEAR, FAR, Tuning())


def only(name: str) -> Algorithm:
    made: Algorithm = plugins.load("sim.network.collectives", name)()
    return made


SIZES = st.integers(2, 128)
BYTES = st.floats(1.0, 1e11)


@given(SIZES, BYTES)
def test_ring_all_reduce(n: int, nbytes: float) -> None:
    seconds = default_collectives(ideal(n)).all_reduce_s(nbytes)
    assert seconds == pytest.approx(2 * (n - 1) * (NEAR + nbytes / (n * UP)))


@given(SIZES, BYTES)
def test_ring_all_gather_and_reduce_scatter_are_the_two_halves(n: int, nbytes: float) -> None:
    priced = default_collectives(ideal(n))
    assert priced.all_gather_s(nbytes) == pytest.approx((n - 1) * (NEAR + nbytes / (n * UP)))
    assert priced.reduce_scatter_s(nbytes) == priced.all_gather_s(nbytes)
    both = priced.all_gather_s(nbytes) + priced.reduce_scatter_s(nbytes)
    assert priced.all_reduce_s(nbytes) == pytest.approx(both)


@given(SIZES, BYTES)
def test_all_to_all_and_point_to_point_are_one_step(n: int, nbytes: float) -> None:
    priced = default_collectives(ideal(n))
    assert priced.all_to_all_s(nbytes) == pytest.approx(NEAR + nbytes / UP)
    assert priced.send_s(nbytes) == pytest.approx(NEAR + nbytes / UP)


@given(st.integers(2, 16), st.integers(2, 16), BYTES)
def test_across_nodes_all_nics_work_side_by_side(k: int, m: int, nbytes: float) -> None:
    """A lower bound: what must leave a node leaves over its k NICs."""
    seconds = only("hierarchical").seconds("all_reduce", ideal(k * m, m), nbytes)
    through_nics = 2 * (m - 1) / m * nbytes / (k * OUT)
    inside = 2 * (k - 1) / k * nbytes / UP
    latency = 2 * (k - 1) * NEAR + 2 * (m - 1) * FAR
    assert seconds == pytest.approx(latency + max(through_nics, inside))


@given(st.integers(2, 32), BYTES)
def test_one_device_per_node_is_a_ring_over_the_network(m: int, nbytes: float) -> None:
    seconds = only("ring").seconds("all_reduce", ideal(m, m), nbytes)
    assert seconds == pytest.approx(2 * (m - 1) * (FAR + nbytes / (m * OUT)))


@given(st.integers(1, 16), st.integers(2, 64), BYTES)
def test_a_double_tree_is_logarithmic_in_the_nodes(k: int, m: int, nbytes: float) -> None:
    """Sanders, Speck and Träff 2009: 2 ⌈log2 m⌉ steps, twice the bytes through each node's NICs."""
    seconds = only("tree").seconds("all_reduce", ideal(k * m, m), nbytes)
    latency = 2 * (k - 1) * NEAR + 2 * math.ceil(math.log2(m)) * FAR
    slower = max(2 * nbytes / (k * OUT), 2 * (k - 1) / k * nbytes / UP)
    assert seconds == pytest.approx(latency + slower)


@given(st.integers(1, 8), st.integers(2, 64), BYTES)
def test_across_nodes_the_better_of_ring_and_tree_is_taken(k: int, m: int, nbytes: float) -> None:
    group = ideal(k * m, m)
    rings = only("ring" if k == 1 else "hierarchical").seconds("all_reduce", group, nbytes)
    tree = only("tree").seconds("all_reduce", group, nbytes)
    assert default_collectives(group).all_reduce_s(nbytes) == min(rings, tree)


def test_a_tree_wins_with_few_bytes_and_a_ring_with_many() -> None:
    group = ideal(32 * 8, 32)
    priced = default_collectives(group)
    assert priced.all_reduce_s(1e3) == only("tree").seconds("all_reduce", group, 1e3)
    assert priced.all_reduce_s(1e10) == only("hierarchical").seconds("all_reduce", group, 1e10)


@given(st.integers(2, 32), st.floats(1.0, 2.0**23))
def test_shots_need_one_and_two_steps(n: int, nbytes: float) -> None:
    """All buffers read by everybody, or a reduce-scatter and an all-gather by direct reads."""
    line = (Line(efficiency=1.0),)
    tuning = Tuning(one_shot=line, two_shot=line)
    group = Group(n, 1, n, UP, 0.0, NEAR, 0.0, tuning)
    one = only("one_shot").seconds("all_reduce", group, nbytes)
    two = only("two_shot").seconds("all_reduce", group, nbytes)
    assert one == pytest.approx(NEAR + (n - 1) * nbytes / UP)
    assert two == pytest.approx(2 * NEAR + 2 * (n - 1) / n * nbytes / UP)


@given(SIZES, BYTES)
def test_what_a_device_keeps_is_copied_and_not_sent(n: int, nbytes: float) -> None:
    """1/n of the bytes: half of them between two devices, hardly any among many."""
    line = (Line(efficiency=1.0, copy_ratio=0.5),)
    group = Group(n, 1, n, UP, 0.0, NEAR, 0.0, Tuning(ring=line, direct=line))
    priced = default_collectives(group)
    sent, kept = (n - 1) / n * nbytes / UP, nbytes / n / (0.5 * UP)
    assert priced.all_gather_s(nbytes) == pytest.approx((n - 1) * NEAR + sent + kept)
    assert priced.all_to_all_s(nbytes * (n - 1) / n) == pytest.approx(NEAR + sent + kept)


@given(st.integers(2, 16), st.integers(2, 16), BYTES)
def test_all_to_all_across_nodes_is_as_slow_as_its_slower_part(
    k: int, m: int, nbytes: float
) -> None:
    seconds = default_collectives(ideal(k * m, m)).all_to_all_s(nbytes)
    outside = (k * m - k) / (k * m - 1)
    slower = max(NEAR + (1 - outside) * nbytes / UP, FAR + outside * nbytes / OUT)
    assert seconds == pytest.approx(slower)


@given(SIZES)
def test_a_large_ring_approaches_twice_the_bytes_over_the_bandwidth(n: int) -> None:
    nbytes = 1e15
    seconds = default_collectives(ideal(n)).all_reduce_s(nbytes)
    assert seconds == pytest.approx(2 * nbytes / UP * (n - 1) / n, rel=1e-3)
