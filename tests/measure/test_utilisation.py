"""Series over time."""

from pathlib import Path

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from miniature import Tables, aggregated, engine

from sim.measure.bins import edges_of, spread
from sim.measure.utilisation import Activity

SPANS = st.lists(
    st.tuples(st.floats(0, 10), st.floats(0, 10), st.floats(0, 100)), min_size=1, max_size=20
)


@given(SPANS, st.integers(1, 13))
def test_what_is_spread_over_bins_is_all_there(
    spans: list[tuple[float, float, float]], bins: int
) -> None:
    start = np.array([min(a, b) for a, b, _ in spans])
    end = np.array([max(a, b) for a, b, _ in spans])
    amount = np.array([x for *_, x in spans])
    total = spread(start, end, amount, np.linspace(0.0, 10.0, bins + 1)).sum()
    np.testing.assert_allclose(total, amount.sum(), rtol=1e-9, atol=1e-9)


def test_a_span_is_shared_out_by_time() -> None:
    spans = spread(
        np.array([0.5, 1.25]), np.array([2.5, 1.75]), np.array([4.0, 1.0]), np.arange(4.0)
    )
    assert spans.tolist() == [[1.0, 3.0, 1.0]]


def test_running_and_rates_of_the_aggregated_run(tmp_path: Path) -> None:
    activity = Activity.read(aggregated().write(tmp_path))
    edges, one = edges_of(3.0, 3), np.zeros(1, dtype=np.int64)
    rows = activity.rows
    running = activity.levels(rows["decodes"] + rows["prefills"], edges, one, 1)
    assert running[0].tolist() == [1.0, 2.0, 2.0]
    assert activity.rates("prefill_tokens", edges, one, 1)[0].tolist() == [100.0, 40.0, 0.0]
    assert activity.rates("decodes", edges, one, 1)[0].tolist() == [0.0, 1.0, 4.0]
    assert activity.states(rows["used_blocks"], edges, one, 1)[0].tolist() == [10.0, 20.0, 20.0]


def test_blocks_seen_by_two_slots_at_once_are_counted_once(tmp_path: Path) -> None:
    t = Tables([engine(0, slots=2)])
    for step in range(3):
        t.step(float(step), engine=0, slot=0, first_step=step, used_blocks=8, linear_s=1.0)
        t.step(step + 0.5, engine=0, slot=1, first_step=step, used_blocks=8, linear_s=1.0)
    activity = Activity.read(t.write(tmp_path))
    one = np.zeros(1, dtype=np.int64)
    used = activity.states(activity.rows["used_blocks"], np.linspace(0, 3, 4), one, 1)
    assert used[0].tolist() == [8.0, 8.0, 8.0]
