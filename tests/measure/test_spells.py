"""Unions of steps, and how sure a mean is."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from miniature import Tables, engine

from sim.measure.confidence import Interval
from sim.measure.spells import Spells
from sim.measure.utilisation import Activity


@given(
    spans=st.lists(
        st.tuples(st.integers(0, 1), st.integers(0, 1), st.integers(0, 40), st.integers(1, 9)),
        min_size=1,
        max_size=12,
    )
)
def test_spells_are_the_seconds_in_which_a_step_ran(
    tmp_path_factory: pytest.TempPathFactory, spans: list[tuple[int, int, int, int]]
) -> None:
    t = Tables([engine(0, slots=2), engine(1, slots=2)])
    ran = np.zeros((2, 60))
    for number, (e, slot, start, length) in enumerate(spans):
        t.step(start, engine=e, slot=slot, first_step=number, linear_s=length)
        ran[e, start : start + length] = 1.0
    spells = Spells.of(Activity.read(t.write(tmp_path_factory.mktemp("spells"))))
    weights = np.array([2.0, 3.0])
    filled = spells.filled(np.arange(61.0), weights)
    assert np.diff(filled) == pytest.approx(weights @ ran, abs=1e-9)
    assert len(spells.engine) == int((np.diff(ran, axis=1, prepend=0.0) > 0).sum())


def test_an_engine_without_steps_has_no_spells() -> None:
    none = Spells(np.zeros(0, dtype=np.int64), np.zeros(0), np.zeros(0))
    assert list(none.filled(np.array([0.0, 1.0]), np.ones(1))) == [0.0, 0.0]


@pytest.mark.parametrize("count", [5, 60])
def test_the_interval_holds_the_true_mean_nineteen_times_in_twenty(count: int) -> None:
    random, held, runs = np.random.default_rng(3), 0, 2000
    for _ in range(runs):
        found = Interval.of(random.normal(7.0, 2.0, count))
        assert found is not None
        held += abs(found.mean - 7.0) <= found.half
    assert abs(held / runs - 0.95) < 4 * np.sqrt(0.95 * 0.05 / runs)


def test_steps_that_are_alike_widen_the_interval() -> None:
    random = np.random.default_rng(4)
    drift = np.repeat(random.normal(0.0, 1.0, 10), 20)
    values = drift + 0.1 * random.normal(size=200)
    batches, alone = Interval.of(values), Interval.of(random.permutation(values))
    assert batches is not None
    assert alone is not None
    assert batches.half > 2 * alone.half


def test_two_steps_are_too_few_for_an_interval() -> None:
    assert Interval.of(np.array([1.0, 2.0])) is None
