"""Bytes and busy seconds in bins of time."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from sim.network.fabric import Bundle
from sim.network.ledger import Ledger

ONE = Bundle(((0, 1),), 1, 0.0, 1.0)


def ledger(bin_s: float) -> tuple[Ledger, list[tuple[float, ...]]]:
    rows: list[tuple[float, ...]] = []
    return Ledger(3, bin_s, rows.append), rows  # type: ignore[arg-type]


def test_a_piece_is_spread_evenly_over_the_bins_that_it_lies_in() -> None:
    book, rows = ledger(1.0)
    book.moved(ONE, 0.5, 2.5, 100.0)
    book.write(3.0, open_bin=True)
    assert rows == [(0.0, 0.0, 25.0, 0.0), (0.0, 1.0, 50.0, 0.0), (0.0, 2.0, 25.0, 0.0)]


def test_busy_is_the_time_with_anything_on_the_link_once() -> None:
    book, rows = ledger(10.0)
    book.join(ONE, 1.0)
    book.join(ONE, 2.0)
    book.leave(ONE, 3.0)
    book.leave(ONE, 4.0)
    book.join(ONE, 6.0)
    book.write(7.0, open_bin=True)
    assert rows == [(0.0, 0.0, 0.0, 4.0)]


def test_an_open_bin_waits() -> None:
    book, rows = ledger(1.0)
    book.moved(ONE, 0.0, 1.5, 15.0)
    book.write(1.5, open_bin=False)
    assert rows == [(0.0, 0.0, 10.0, 0.0)]
    book.moved(ONE, 1.5, 2.0, 5.0)
    book.write(2.0, open_bin=True)
    assert rows[1:] == [(0.0, 1.0, 10.0, 0.0)]
    assert book.totals() == {0: 20.0}


def test_members_that_cross_a_link_twice_count_twice() -> None:
    book, _ = ledger(1.0)
    book.moved(Bundle(((1, 4), (2, 1)), 2, 0.0, 1.0), 0.0, 0.5, 10.0)
    assert book.totals() == {1: 20.0, 2: 5.0}


@given(
    st.floats(0.0, 1e4),
    st.floats(1e-9, 100.0),
    st.sampled_from([0.1, 0.3, 1.0, 0.7]),
    st.floats(1.0, 1e12),
)
def test_no_byte_is_lost_and_none_negative(
    start: float, length: float, bin_s: float, nbytes: float
) -> None:
    book, rows = ledger(bin_s)
    end = start + length
    book.join(ONE, start)
    book.moved(ONE, start, end, nbytes)
    book.leave(ONE, end)
    book.write(end, open_bin=True)
    assert abs(sum(r[2] for r in rows) - nbytes) <= 1e-9 * nbytes
    assert abs(sum(r[3] for r in rows) - (end - start)) <= 1e-9 * max(end, 1.0)
    for _, _, moved, busy in rows:
        assert moved >= 0.0
        assert busy >= 0.0


@given(st.integers(0, 1000), st.integers(1, 50), st.sampled_from([0.1, 0.3, 1.0, 0.7]))
def test_pieces_that_end_at_the_edge_of_a_bin_leave_no_crumbs(
    first: int, bins: int, bin_s: float
) -> None:
    book, rows = ledger(bin_s)
    book.moved(ONE, first * bin_s, (first + bins) * bin_s, 1.0)
    book.write((first + bins) * bin_s, open_bin=True)
    assert len(rows) == bins
