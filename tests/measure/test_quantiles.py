"""Quantiles of samples that stand for many."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from sim.measure.quantiles import Weighted, stats

SAMPLES = st.lists(
    st.tuples(st.floats(0.0, 1e3), st.integers(0, 6)), min_size=1, max_size=40
).filter(lambda rows: any(w for _, w in rows))


@given(SAMPLES, st.floats(0.001, 1.0))
def test_a_weighted_quantile_is_that_of_the_samples_written_out(
    rows: list[tuple[float, int]], level: float
) -> None:
    values, weights = np.array([v for v, _ in rows]), np.array([w for _, w in rows])
    weighted = Weighted.of(values, weights)
    written_out = np.sort(np.repeat(values, weights))
    rank = max(int(np.ceil(level * len(written_out) - 1e-9)), 1)
    assert weighted.quantiles([level])[0] == written_out[rank - 1]
    assert weighted.count == len(written_out)


def test_quantiles_of_plain_samples_interpolate_and_leave_out_the_undefined() -> None:
    known = stats(np.array([1.0, 2.0, np.nan, 3.0, 4.0, 5.0]))
    assert known["mean"] == 3.0
    assert known["p50"] == 3.0
    assert known["p90"] == 4.6


def test_nothing_has_no_quantiles() -> None:
    assert stats(np.array([np.nan]))["p99"] is None
    assert Weighted.of(np.array([1.0]), np.array([0])).stats()["mean"] is None
