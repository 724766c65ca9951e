"""Progressive filling by hand."""

from __future__ import annotations

import pytest

from sim.network.sharing import fill

INFINITE = float("inf")


def test_two_flows_halve_a_link() -> None:
    assert fill([1, 1], [INFINITE] * 2, [[(0, 1)], [(0, 1)]], [100.0]) == [50.0, 50.0]


def test_the_textbook_case_of_three_flows_on_two_links() -> None:
    links = [[(0, 1)], [(0, 1), (1, 1)], [(1, 1)]]
    assert fill([1, 1, 1], [INFINITE] * 3, links, [100.0, 200.0]) == [50.0, 50.0, 150.0]


def test_a_capped_flow_leaves_its_share_to_the_others() -> None:
    rates = fill([1, 1, 1], [10.0, INFINITE, INFINITE], [[(0, 1)]] * 3, [100.0])
    assert rates == [10.0, 45.0, 45.0]


def test_a_bundle_counts_as_its_members() -> None:
    """Four members against one on the same link: 4/5 and 1/5."""
    assert fill([4, 1], [INFINITE] * 2, [[(0, 4)], [(0, 1)]], [100.0]) == [80.0, 20.0]


def test_a_member_that_crosses_twice_pays_twice() -> None:
    rates = fill([2, 1], [INFINITE] * 2, [[(0, 4)], [(0, 1)]], [100.0])
    assert rates == [40.0, 20.0]


def test_a_cap_bounds_the_whole_bundle() -> None:
    assert fill([4, 1], [40.0, INFINITE], [[(0, 4)], [(0, 1)]], [100.0]) == [40.0, 60.0]


def test_a_bundle_without_links_runs_at_its_cap() -> None:
    assert fill([1, 1], [7.0, INFINITE], [[], [(0, 1)]], [100.0]) == [7.0, 100.0]


def test_nothing_to_share() -> None:
    assert fill([], [], [], []) == []


def test_freeing_a_link_step_by_step() -> None:
    """A parking lot: one long flow over three links, a short one on each; the narrowest decides
    the long one, and the short ones take what is left."""
    links = [[(0, 1), (1, 1), (2, 1)], [(0, 1)], [(1, 1)], [(2, 1)]]
    rates = fill([1] * 4, [INFINITE] * 4, links, [100.0, 60.0, 20.0])
    assert rates == pytest.approx([10.0, 90.0, 50.0, 10.0])
