"""Expert loads that are drawn anew every epoch of steps."""

from __future__ import annotations

from typing import Any

import pytest
from helpers import assert_same_tables, generated, planned, play, serving
from helpers.laws import all_holds

GRAPHS = {"engine": {"max_num_seqs": 32, "max_num_batched_tokens": 256}}


def tree(routing: Any, leap: bool = True) -> dict[str, Any]:
    pool = GRAPHS | {
        "layout": {"dp_attention": {"dp": 4}},
        "timer": {"calibrated": {"routing": routing}},
    }
    workload = generated(24, 100, 120, {"poisson": {"rate_per_s": 20}})
    return serving(
        workload, model="qwen3-30b-a3b", topology="dgx_h100", pools={"serve": pool}, leap=leap
    )


DRIFTING = {"drifting": {"exponent": 1.2, "epoch_steps": 7}}


def test_leaping_over_epochs_changes_no_table() -> None:
    leapt, stepped = play(tree(DRIFTING)), play(tree(DRIFTING, leap=False))
    all_holds(leapt)
    assert_same_tables(leapt, stepped)


def test_epochs_differ_and_average_to_the_expected_load() -> None:
    """Decode-only steps of the same batch and nearly the same context cost more in some epochs."""
    steps = play(tree(DRIFTING, leap=False)).table("steps")
    same = steps[(steps["prefill_tokens"] == 0) & (steps["rank"] == 0)]
    seconds = same["experts_s"] / same["n"]
    assert seconds.max() > 1.1 * seconds[seconds > 0].min()
    fixed = play(tree({"power_law": {"exponent": 1.2}})).table("steps")
    drawn, mean = (s["experts_s"].sum() / s["n"].sum() for s in (steps, fixed))
    assert drawn == pytest.approx(mean, rel=0.15)


def test_skew_costs_time_when_every_expert_is_busy() -> None:
    """At 2,048 tokens over 128 experts all weights are read, whatever the law; with few tokens a
    skewed law reads fewer."""
    seconds = []
    for routing in ("balanced", "uniform", {"power_law": {"exponent": 1.2}}):
        (pool,) = planned(tree(routing)).pools
        timer = pool.settings.timer.compile(pool.tasks[0])
        seconds.append(timer.tables[0].experts[[16, 1024]])
    many = [s[1] for s in seconds]
    assert many == sorted(many)
    assert many[2] > 1.02 * many[1]
