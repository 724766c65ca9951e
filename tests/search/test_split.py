"""Splits of a loop's GPUs between rollouts and trainer."""

from __future__ import annotations

import pytest
from helpers import planned
from helpers.loops import loop_tree

from sim.errors import ScenarioError
from sim.scenario.scenario import Scenario
from sim.search.split import best_of, play_split, splits, with_split

TREE = loop_tree({"asynchronous": {}}, trainer={"layout": {"tp": 1, "dp": 4}})


def test_splits_use_all_gpus_that_can_be_used_and_keep_the_layouts() -> None:
    found = splits(planned(TREE))
    assert [(s.engines, s.dp) for s in found] == [(n, 6 - n) for n in range(1, 6)]
    assert all(s.rollout_gpus + s.trainer_gpus == 6 for s in found)


def test_only_the_splits_that_are_named_are_tried() -> None:
    assert [(s.engines, s.dp) for s in splits(planned(TREE), [2, 5])] == [(2, 4), (5, 1)]


def test_one_split_is_no_choice() -> None:
    with pytest.raises(ScenarioError, match="name two numbers or more"):
        splits(planned(TREE), [3])


def test_a_number_of_engines_that_cannot_be_had_is_not_dropped_in_silence() -> None:
    with pytest.raises(ScenarioError, match="--engines: 6, 1000 cannot be had from 6 GPUs"):
        splits(planned(TREE), [2, 4, 6, 1000])


def test_gpus_that_a_split_has_no_use_for_are_counted() -> None:
    tree = loop_tree({"asynchronous": {}}, trainer={"layout": {"tp": 2, "dp": 2}})
    found = splits(planned(tree), [1, 2, 3])
    assert [(s.rollout_gpus, s.trainer_gpus, s.idle_gpus) for s in found] == [
        (1, 4, 1), (2, 4, 0), (3, 2, 1),
    ]  # fmt: skip


def test_a_trainer_that_takes_turns_cannot_be_split_off() -> None:
    with pytest.raises(ScenarioError, match="placement: apart"):
        splits(planned(loop_tree("synchronous")))


def test_a_split_is_played_as_the_scenario_with_other_numbers() -> None:
    scenario = Scenario.of(TREE)
    few, many = (s for s in splits(planned(TREE)) if s.engines in (1, 4))
    rows = [play_split(scenario, "rollout", s) for s in (few, many)]
    assert rows[0]["generation_s"] > rows[1]["generation_s"]
    assert rows[0]["train_s"] < rows[1]["train_s"]
    best = best_of(rows)
    assert best["accepted_samples_per_s"] == max(r["accepted_samples_per_s"] for r in rows)
    changed = with_split(scenario, "rollout", many).settings
    assert changed.pools["rollout"].engines == 4
    assert changed.rl is not None
    assert changed.rl.trainer.layout.dp == 2


def test_what_cannot_be_played_is_told_and_left_out() -> None:
    tree = loop_tree({"asynchronous": {}}, trainer={"layout": {"tp": 1, "dp": 4}})
    tree["rl"]["trainer"]["recipe"] = {"recompute": "full", "zero": 1}
    found = splits(planned(tree))
    last = play_split(Scenario.of(tree), "rollout", found[-1])
    assert "does not fit" in last["refused"]
    with pytest.raises(ScenarioError, match="no split can be played"):
        best_of([last])
