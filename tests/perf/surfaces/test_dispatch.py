"""Expert-parallel exchange: limits that need no measurement, and a rack that was measured."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sim.network.collectives import Group
from sim.perf.surfaces.dispatch import ONE_SIDED, Dispatch

UP, OUT = 450e9, 50e9


def nodes(count: int, gpus: int = 8) -> Group:
    return Group(count * gpus, count, gpus, UP, OUT if count > 1 else 0.0, 0.0, 0.0)


def model(hidden: int = 7168, top_k: int = 8, experts: int = 256) -> dict[str, int]:
    return {"hidden": hidden, "top_k": top_k, "experts": experts}


def slope(surface: Dispatch, group: Group, **shape: float) -> float:
    """Seconds per token of a large dispatch."""
    low, high = surface.dispatch_seconds(np.array([1e6, 2e6]), group, **shape)  # type: ignore[arg-type]
    return float(high - low) / 1e6


def test_a_device_alone_exchanges_nothing() -> None:
    alone = Group(1, 1, 1, UP, 0.0, 0.0, 0.0)
    assert Dispatch().dispatch_seconds(np.array([1.0, 9.0]), alone, **model()).tolist() == [0, 0]


def test_many_tokens_in_a_node_are_bound_by_nvlink() -> None:
    """To each of 8 devices once with chance 1 − C(224, 8)/C(256, 8); 7 in 8 of them elsewhere."""
    missed = 1.0
    for i in range(8):
        missed *= (224 - i) / (256 - i)
    copies = 8 * (1 - missed) * 7 / 8
    ideal = replace(Dispatch(), up=(1.0, 1.0))
    expected = copies * 7168 * 1.03125 / UP
    assert slope(ideal, nodes(1), **model()) == pytest.approx(expected)


def test_a_copy_per_expert_is_more_than_a_copy_per_device() -> None:
    per_expert = slope(Dispatch(copies_per="expert"), nodes(1), **model())
    per_device = slope(Dispatch(), nodes(1), **model())
    assert per_expert / per_device == pytest.approx(8 / 5.3, rel=0.02)


def test_across_nodes_the_network_binds_and_a_token_crosses_once_per_node() -> None:
    ideal = Dispatch(up=(1.0, 1.0), out=(1.0, 1.0))
    two = slope(ideal, nodes(2), **model())
    assert two == pytest.approx(7168 * 1.03125 / OUT, rel=0.01)


def test_limiting_the_nodes_of_a_token_saves_network_time() -> None:
    free = slope(Dispatch(), nodes(8), **model())
    limited = slope(Dispatch(), nodes(8), **model(), max_domains=4)
    assert 3.5 / 5.5 < limited / free < 4 / 5


def test_twice_the_multiprocessors_halve_an_exchange_that_they_bind() -> None:
    bound = Dispatch(byte_s=(1e-9, 1e-9))
    few, many = (slope(bound, nodes(1), **model(), engines=n) for n in (4, 8))
    assert few == pytest.approx(2 * many)


@given(
    tokens=st.tuples(st.integers(0, 10**6), st.integers(0, 10**6)),
    count=st.integers(1, 16),
    top_k=st.integers(1, 8),
)
def test_more_tokens_never_take_less_time(tokens: tuple[int, int], count: int, top_k: int) -> None:
    pair = np.sort(np.array(tokens, dtype=float))
    for copies_per in ("expert", "device"):
        surface = Dispatch(copies_per=copies_per)
        for seconds in (surface.dispatch_seconds, surface.combine_seconds):
            first, second = seconds(pair, nodes(count), **model(top_k=top_k))
            assert 0 < first <= second


def test_each_price_of_an_array_is_that_of_its_entry_alone() -> None:
    tokens = np.array([0.0, 1.0, 37.0, 4096.0])
    many = ONE_SIDED.combine_seconds(tokens, nodes(2), **model())
    alone = [float(ONE_SIDED.combine_seconds(tokens[i], nodes(2), **model())) for i in range(4)]
    assert many.tolist() == alone


RACK = Group(0, 1, 0, 900e9, 0.0, 0.0, 0.0)
TOKENS = np.array([32.0, 128.0, 512.0, 1024.0, 4096.0])
MEASURED = [
    ("dispatch", 0.5625, 8, [19, 22, 43, 64, 195]),
    ("dispatch", 0.5625, 32, [22, 26, 49, 73, 225]),
    ("dispatch", 2.0, 8, [18, 35, 99, 186, 706]),
    ("dispatch", 2.0, 64, [21, 41, 117, 222, 902]),
    ("combine", 2.0, 8, [19, 38, 116, 215, 816]),
    ("combine", 2.0, 64, [26, 43, 132, 251, 1011]),
]


@pytest.mark.parametrize(("way", "width", "ranks", "microseconds"), MEASURED)
def test_a_rack_of_gb200_is_as_measured(
    way: str, width: float, ranks: int, microseconds: list[float]
) -> None:
    """AIConfigurator's tables of one-sided all-to-all: 8 of 256 experts, hidden size 7168."""
    group = replace(RACK, size=ranks, per_domain=ranks)
    leg = ONE_SIDED.dispatch_seconds if way == "dispatch" else ONE_SIDED.combine_seconds
    seconds = leg(TOKENS, group, **model(), bytes_per_value=width)
    assert (seconds * 1e6).tolist() == pytest.approx(microseconds, rel=0.25)


def test_beyond_eight_ranks_an_exchange_in_a_rack_hardly_grows() -> None:
    """A token goes to at most eight ranks: measured 27 % more from 8 to 64."""
    eight, many = (
        float(
            ONE_SIDED.dispatch_seconds(TOKENS, replace(RACK, size=n, per_domain=n), **model())[-1]
        )
        for n in (8, 72)
    )
    assert 1.2 < many / eight < 1.7
