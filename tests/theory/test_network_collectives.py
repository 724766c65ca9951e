"""Collectives against their textbook formulae, on wires without software overhead."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sim.network.collectives import Group, Tuning, default_collectives

UP, OUT, NEAR, FAR = 400e9, 50e9, 1e-6, 5e-6


def ideal(size: int, domains: int = 1) -> Group:
    return Group(size, domains, size // domains, UP, OUT, NEAR, FAR, Tuning())


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
    seconds = default_collectives(ideal(k * m, m)).all_reduce_s(nbytes)
    through_nics = 2 * (m - 1) / m * nbytes / (k * OUT)
    inside = 2 * (k - 1) / k * nbytes / UP
    latency = 2 * (k - 1) * NEAR + 2 * (m - 1) * FAR
    assert seconds == pytest.approx(latency + max(through_nics, inside))


@given(st.integers(2, 32), BYTES)
def test_one_device_per_node_is_a_ring_over_the_network(m: int, nbytes: float) -> None:
    seconds = default_collectives(ideal(m, m)).all_reduce_s(nbytes)
    assert seconds == pytest.approx(2 * (m - 1) * (FAR + nbytes / (m * OUT)))


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
