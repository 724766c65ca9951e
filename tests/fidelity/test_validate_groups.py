"""Errors of groups: what is counted where."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from sim.fidelity.accuracy import accuracy_page
from sim.fidelity.comparison import Comparison
from sim.fidelity.groups import Group, split_small, summarise, worst
from sim.fidelity.page import Look, render
from sim.fidelity.targets import TARGETS, target_of

MEASURED = [1.0, 2.0, 4.0, 1.0]
PREDICTED = [1.1, 1.0, 4.0, np.nan]


def compared(**changes: Any) -> Comparison:
    """Errors +10 %, −50 %, 0, and one row that the model cannot reach."""
    columns = {
        "kind": "ops", "group": "a gemm bf16", "metric": "gemm bf16",
        "what": ["one", "two", "three", "four"], "measured_s": MEASURED, "predicted_s": PREDICTED,
        "outside": ["", "", "", "no such kernel"],
    }  # fmt: skip
    return Comparison.of(**(columns | changes))


def test_errors_are_relative_to_what_was_measured_and_rows_outside_are_counted_apart() -> None:
    (group,) = summarise(compared())
    assert (group.rows, group.outside, group.reasons) == (3, 1, {"no such kernel": 1})
    assert group.mape == pytest.approx((0.1 + 0.5 + 0.0) / 3)
    assert group.bias == pytest.approx((0.1 - 0.5 + 0.0) / 3)
    assert group.median_ape == pytest.approx(0.1)
    assert group.p90_ape == pytest.approx(0.42)


def test_a_prediction_that_is_no_time_is_outside_and_never_dropped() -> None:
    rows = compared(predicted_s=[np.inf, 0.0, -1.0, 1.0], outside="").rows
    assert rows["outside"].ne("").tolist() == [True, True, True, False]
    assert len(rows) == 4


def test_two_factors_of_two_are_equally_bad_whichever_the_way() -> None:
    low, high = worst(compared(predicted_s=[1.0, 1.0, 8.0, 1.0], outside=""), 2)
    assert {low.factor, high.factor} == {0.5, 2.0}


def test_short_rows_are_a_group_of_their_own() -> None:
    groups = summarise(split_small(compared(), 1.5))
    assert [(g.group, g.rows, g.outside) for g in groups] == [
        ("a gemm bf16 (under 1.5e+06 µs)", 1, 1),
        ("a gemm bf16", 2, 0),
    ]
    assert target_of(groups[0]) is None
    assert target_of(groups[1]) is not None


def test_a_metric_of_several_groups_has_a_total_that_holds_all_rows() -> None:
    both = Comparison.join([compared(), compared(group="b gemm bf16")])
    *groups, total = summarise(both)
    assert (total.group, total.rows, total.outside) == ("all gemm bf16", 6, 2)
    assert total.mape == pytest.approx(np.mean([g.mape for g in groups]))


def test_a_group_without_a_reachable_row_has_no_error_and_misses_no_target() -> None:
    (group,) = summarise(compared(predicted_s=np.nan, outside="unknown"))
    assert group.mape is None
    target = target_of(group)
    assert target is not None
    assert target.met_by(group) is None


@pytest.mark.parametrize(
    ("kind", "name", "figure", "bound"),
    [
        ("ops", "h100 trtllm-1.3 gemm bf16", "mape", 0.06),
        ("ops", "h100 trtllm-1.3 gemm fp8_block", "mape", 0.12),
        ("ops", "h100 trtllm-1.3 latent decode bf16/fp8", "mape", 0.10),
        ("points", "all TTFT", "median_ape", 0.30),
        ("run", "x mean latency", "mape", 0.12),
    ],
)
def test_groups_find_their_target(kind: str, name: str, figure: str, bound: float) -> None:
    target = target_of(Group(kind, name, 0, None, None, None, None, 0, 0, {}))
    assert target in TARGETS
    assert (target.figure, target.at_most) == (figure, bound)


def test_the_accuracy_page_has_every_group_good_or_bad() -> None:
    both = Comparison.join([compared(), compared(group="b gemm bf16", predicted_s=MEASURED)])
    page = accuracy_page(summarise(both), "sim validate all data")
    assert "| a gemm bf16 | 3 | 20.0 % |" in page
    assert "| b gemm bf16 | 3 | 0.0 % |" in page
    assert "| ops | all gemm bf16 | 6 | 10.0 % |" in page
    assert "**no**" in page
    assert "| ops | no such kernel | 2 |" in page


def test_the_html_page_escapes_names_and_holds_its_points() -> None:
    groups = summarise(comparison := compared(group="<b>a", what="</script>"))
    look = Look(
        "", "", ("#000000",), lambda figure, height, **more: figure.update_layout(height=height)
    )
    page = render("title", comparison, groups, look)
    assert "&lt;b&gt;a" in page
    assert '</script>"' not in page
    assert page.count('class="plot"') == 1
