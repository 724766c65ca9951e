"""How choices spread over ranks: limits with an exact answer, and the laws against each other."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sim.errors import ScenarioError
from sim.perf.epochs import Epochs
from sim.perf.price_list import HostTables
from sim.perf.routing import Balanced, PowerLaw, Routing, Uniform
from sim.perf.step_timer import TableTimer
from sim.rng import Draws

LAWS = [Balanced(), Uniform(), PowerLaw(1.2)]
SHAPES = [(8, 2, 4), (128, 8, 16), (256, 8, 8), (512, 10, 64), (16, 1, 1)]


@pytest.mark.parametrize("law", LAWS)
def test_a_rank_that_holds_all_experts_computes_all_choices(law: Routing) -> None:
    tokens = np.array([1, 7, 64, 1000])
    load = law.slowest(tokens, 64, 4, 1)
    assert load.choices == pytest.approx(4 * tokens, rel=1e-9)
    assert load.tokens == pytest.approx(tokens)


@pytest.mark.parametrize("law", LAWS)
@given(shape=st.sampled_from(SHAPES), tokens=st.integers(1, 20_000))
def test_a_load_is_possible(law: Routing, shape: tuple[int, int, int], tokens: int) -> None:
    experts, top_k, ranks = shape
    load = law.slowest([tokens], experts, top_k, ranks)
    here = experts // ranks
    choices, touched, largest, reached = (
        float(v[0]) for v in (load.choices, load.touched, load.largest, load.tokens)
    )
    assert tokens * top_k / ranks * (1 - 1e-9) <= choices <= tokens * min(top_k, here) + 1e-6
    assert 1 - 1e-9 <= touched <= min(here, choices) + 1e-6
    assert choices / here - 1e-6 <= largest <= min(choices, tokens) + 1e-6
    assert 0 < reached <= min(tokens, choices) + 1e-6


def test_no_tokens_are_no_load() -> None:
    for law in LAWS:
        load = law.slowest([0, 5], 64, 4, 4)
        assert load.choices[0] == load.touched[0] == load.largest[0] == load.tokens[0] == 0


def test_uniform_choices_touch_as_many_experts_as_probability_says() -> None:
    load = Uniform().slowest([1, 10, 100], 128, 8, 1)
    expected = 128 * (1 - (1 - 8 / 128) ** np.array([1, 10, 100]))
    assert load.touched == pytest.approx(expected, rel=1e-6)


def test_the_slowest_of_uniform_ranks_is_that_of_a_simulation() -> None:
    """64 tokens, 8 of 128 experts, 16 ranks: the mean of the largest over plain random draws."""
    drawn = np.random.default_rng(0)
    scores = drawn.random((300, 64, 128))
    chosen = np.argpartition(scores, 8, axis=2)[:, :, :8] // 8
    loads = np.stack([(chosen == rank).sum(axis=(1, 2)) for rank in range(16)])
    got = Uniform().slowest([64], 128, 8, 16).choices[0]
    assert got == pytest.approx(loads.max(axis=0).mean(), rel=0.04)


def test_many_tokens_even_out_uniform_choices_but_not_a_power_law() -> None:
    tokens, mean = [10**6], 10**6 * 8 / 16
    assert Uniform().slowest(tokens, 128, 8, 16).choices[0] == pytest.approx(mean, rel=0.01)
    assert PowerLaw().slowest(tokens, 128, 8, 16).choices[0] > 2 * mean


def test_power_law_loads_are_those_of_the_rule_that_made_the_tables() -> None:
    """Means of 40 draws of AIConfigurator's rule, rounding and evening-out done one by one."""
    rows = {(128, 8, 16, 64): (58.4, 7.6, 16.9, 41.4), (8, 2, 4, 512): (550, 2.0, 465, 482)}
    for (experts, top_k, ranks, tokens), expected in rows.items():
        load = PowerLaw(1.2).slowest([tokens], experts, top_k, ranks)
        got = [float(v[0]) for v in (load.choices, load.touched, load.largest, load.tokens)]
        assert got == pytest.approx(expected, rel=0.06)


@pytest.mark.parametrize("law", LAWS)
def test_the_levels_average_to_the_expected_load(law: Routing) -> None:
    tokens = np.array([16, 256, 4096])
    levels = law.levels(tokens, 128, 8, 16)
    assert levels.shape == (8, 3)
    assert (np.diff(levels, axis=0) >= 0).all()
    mean = law.slowest(tokens, 128, 8, 16).choices / (tokens * 8 / 16)
    assert levels.mean(axis=0) == pytest.approx(mean, rel=0.05)


def test_a_level_lasts_an_epoch() -> None:
    plain = TableTimer(caps=(), tables=(), host=HostTables.constant(0.0, 1))
    timer = replace(plain, levels=(plain,) * 8, epoch_steps=50)
    epochs = Epochs(timer, Draws(1, "expert_load"), engine=0)
    levels = epochs.levels(np.arange(5000)).tolist()
    assert all(len(set(levels[i : i + 50])) == 1 for i in range(0, 5000, 50))
    assert set(levels) == set(range(8))
    assert [epochs.left(step) for step in (0, 49, 50)] == [50, 1, 50]


@pytest.mark.parametrize("law", LAWS)
def test_a_table_over_many_counts_has_a_load_for_each(law: Routing) -> None:
    assert len(law.slowest(np.arange(1, 100_001), 512, 10, 64).choices) == 100_000


def test_ranks_that_do_not_divide_the_experts_are_refused() -> None:
    with pytest.raises(ScenarioError, match="divisor of 128"):
        Balanced().slowest([1], 128, 8, 3)
    with pytest.raises(ScenarioError, match="exponent"):
        PowerLaw(1.0)
