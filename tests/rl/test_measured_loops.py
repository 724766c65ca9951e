"""Loops of every cadence, played, measured and drawn."""

from pathlib import Path
from typing import Any

import pytest
from helpers.loops import loop_tree

from sim import plugins
from sim.api import run
from sim.report.html import FIGURES, draw_figures
from sim.scenario.scenario import Scenario

CADENCES = [
    "synchronous",
    "one_step_off",
    {"asynchronous": {"staleness": 2}},
    {"asynchronous": {"staleness": 2, "update": "interrupt"}},
    {"asynchronous": {"staleness": 1, "update": "drain", "max_age": 1}},
    {"asynchronous": {"staleness": 2, "sync_every": 2}},
    "over_sampling",
    "partial_rollout",
    "repacking",
    "tail_packing",
]

PULLED = {"weight_sync": {"by": "relay", "pull": True}}

SURROUNDINGS: dict[str, dict[str, Any]] = {
    "plain": {},
    "dynamic filter": {"filter": {"dynamic": {"mean_pass_rate": 0.5}}},
    "slow rewards": {"reward": {"rule": {"seconds": "500 ms", "workers": 1}}},
    "hanging sandboxes": {
        "reward": {"sandbox": {"seconds": "20 ms", "hangs": 0.1, "timeout": "2 s",
                               "on_timeout": "drop"}}
    },
    "tools": {
        "environment": {"tools": {"turns": {"uniform": {"min_tokens": 1, "max_tokens": 4}},
                                  "answer_tokens": {"constant": {"tokens": 30}},
                                  "seconds": {"mean_s": 0.3, "cv": 1.0}}}
    },
    "two epochs": {"trainer": {"epochs": 2}},
}  # fmt: skip


@pytest.mark.parametrize("around", SURROUNDINGS)
@pytest.mark.parametrize("cadence", ["synchronous", {"asynchronous": {"staleness": 2}}], ids=str)
def test_the_books_balance_whatever_filters_and_rewards_do(
    cadence: object, around: str, tmp_path: Path
) -> None:
    result = run(Scenario.of(loop_tree(cadence, **SURROUNDINGS[around])), out=tmp_path / "run")
    samples = dict(result.summary["rl"]["samples"])
    assert samples.pop("generated") == sum(samples.values()) == len(result.table("samples"))
    assert (samples["filtered"] > 0) == (around == "dynamic filter")
    assert (samples["aborted"] > 0) == (around == "hanging sandboxes")


@pytest.mark.parametrize("cadence", CADENCES, ids=str)
def test_drafts_have_a_bound_where_rollouts_and_trainer_take_turns(
    cadence: object, tmp_path: Path
) -> None:
    """Beside training, quicker generation hides behind it, and the bound does not hold."""
    tree = loop_tree(cadence, **PULLED if cadence == "repacking" else {})
    pool = tree["pools"]["rollout"]
    del pool["timer"]
    pool["speculation"] = {"eagle": {"acceptance": {"iid": 0.75}, "draft_tokens": 3}}
    rl = run(Scenario.of(tree), out=tmp_path / "run").summary["rl"]
    beside = "one_step_off" in str(cadence) or "asynchronous" in str(cadence)
    assert rl["steady"]["takes_turns"] == (not beside and cadence != "repacking")
    assert (rl["end_to_end_bound"] is not None) == rl["steady"]["takes_turns"]


@pytest.mark.parametrize("cadence", CADENCES, ids=str)
def test_what_is_measured_of_a_played_loop_adds_up(cadence: object, tmp_path: Path) -> None:
    pulled = PULLED if cadence == "repacking" else {}
    result = run(Scenario.of(loop_tree(cadence, **pulled)), out=tmp_path / "run")
    rl, steps = result.summary["rl"], result.table("rl_steps")
    assert rl["steps"] == len(steps) == 4
    assert sum(rl["shares"].values()) == pytest.approx(1.0)
    assert rl["accepted_samples_per_s"] == pytest.approx(
        steps["samples"].sum() / (steps["end_s"].iloc[-1] - steps["start_s"].iloc[0])
    )
    assert rl["samples"]["trained"] == steps["samples"].sum()
    assert 0.0 <= rl["rollout"]["idle_share"] < 1.0
    busy = sum(p["busy_share"] * p["gpus"] for p in result.summary["pools"].values())
    span = result.summary["window"]["end_s"] - result.summary["window"]["start_s"]
    whole = rl["gpus"]["rollout"] * (rl["end_s"] - rl["start_s"])
    if not rl["colocated"]:  # engines run no less than their GPUs are busy
        assert 1.0 - rl["rollout"]["idle_share"] >= busy * span / whole - 1e-6


def test_every_figure_of_loops_shows_a_played_one(tmp_path: Path) -> None:
    result = run(Scenario.of(loop_tree({"asynchronous": {"staleness": 2}})), out=tmp_path / "run")
    drawn = {f["name"] for f in draw_figures(result.folder)["Reinforcement learning"]}
    assert drawn == {n for n in plugins.names(FIGURES) if n.startswith("rl_")} - {"rl_split"}
