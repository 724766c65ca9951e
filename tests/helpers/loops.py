"""Small loops for tests, and what must hold of the tables of every one."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from helpers import Run, play

PARTS = (
    "wait_s", "prepare_s", "reshard_s", "logprob_s", "reference_s", "train_s", "checkpoint_s",
    "recovery_s", "sync_s",
)  # fmt: skip
FATES = ("trained", "filtered", "stale", "aborted", "in_flight")


def loop_tree(cadence: Any = "synchronous", **changes: Any) -> dict[str, Any]:
    """A scenario of a few short steps: a constant time per pass, two engines. `changes` go into its
    `rl` block; `top` into the scenario, `trainer` into the trainer."""
    top, trainer = changes.pop("top", {}), changes.pop("trainer", {})
    placement = "colocated" if cadence == "synchronous" else "apart"
    rl = {
        "steps": 4,
        "prompts_per_step": 6,
        "samples_per_prompt": 3,
        "prompt_tokens": {"uniform": {"min_tokens": 5, "max_tokens": 60}},
        "response_tokens": {"lognormal": {"mean_tokens": 40, "sigma": 0.8, "max_tokens": 200}},
        "cadence": cadence,
        "trainer": {
            "placement": placement,
            "layout": {"tp": 1, "dp": 2},
            "micro_batch_tokens": 2048,
        }
        | trainer,
    }
    engine = {"max_num_seqs": 8, "max_num_batched_tokens": 64, "gpu_memory_utilization": 0.6}
    tree = {
        "model": "qwen3-8b",
        "topology": {"name": "dgx_h100", "nodes": 1},
        "pools": {
            "rollout": {"engines": 2, "timer": {"constant": {"step_s": 0.01}}, "engine": engine}
        },
        "rl": rl | {"trainer": {"recipe": RECIPE} | rl["trainer"]} | changes,
    }
    return tree | top


RECIPE = {"recompute": "full", "zero": 1, "offload": {}}
"""An 8B model with its states in host memory fits on two GPUs."""


def play_loop(cadence: Any = "synchronous", **changes: Any) -> Run:
    """The tables of such a loop."""
    return play(loop_tree(cadence, **changes))


def loop_laws(run: Run) -> None:
    """Nobody is lost, nobody counted twice, and the trainer's day has no gaps."""
    everybody_has_one_fate(run)
    batches_are_whole(run)
    days_have_no_gaps(run)
    versions_are_in_order(run)


def everybody_has_one_fate(run: Run) -> None:
    samples, requests = run.table("samples"), run.table("requests")
    assert sorted(samples["sample"]) == list(range(len(samples)))
    assert set(samples["state"]) <= set(FATES)
    asked = samples[samples["request"] >= 0]["request"]
    assert asked.is_unique
    assert set(asked) <= set(requests["request"])
    trained = samples[samples["state"] == "trained"]
    ended = requests.set_index("request").loc[trained["request"]]
    assert (ended["state"] == "finished").all()
    assert (trained["staleness"] >= 0).all()
    assert (trained["staleness_max"] >= trained["staleness"]).all()


def batches_are_whole(run: Run) -> None:
    """Every step trains on whole groups, and every sample is of one step."""
    steps, samples = run.table("rl_steps"), run.table("samples")
    trained = samples[samples["state"] == "trained"]
    by_step = trained.groupby("step")
    for _, row in steps.iterrows():
        mine = by_step.get_group(row["step"])
        assert len(mine) == row["samples"]
        assert mine["prompt"].nunique() == row["prompts"]
        assert mine["response_tokens"].sum() == row["response_tokens"]
        assert mine["scored_s"].max() <= row["end_s"]
        lag = np.average(mine["staleness"], weights=mine["response_tokens"])
        assert abs(lag - row["staleness"]) < 1e-9


def days_have_no_gaps(run: Run) -> None:
    steps, phases = run.table("rl_steps"), run.table("rl_phases")
    whole = steps["end_s"] - steps["start_s"]
    assert ((whole - steps[list(PARTS)].sum(axis=1)).abs() < 1e-9).all()
    assert (steps["start_s"].iloc[1:].to_numpy() == steps["end_s"].iloc[:-1].to_numpy()).all()
    exposed = steps["exposed_generation_s"] + steps["exposed_reward_s"]
    assert (exposed <= steps["wait_s"] + 1e-9).all()
    for _, mine in phases.groupby("actor", observed=True):
        ordered = mine.sort_values("start_s")
        assert (
            ordered["start_s"].iloc[1:].to_numpy() >= ordered["end_s"].iloc[:-1].to_numpy()
        ).all()


def versions_are_in_order(run: Run) -> None:
    samples, engines = run.table("samples"), run.table("engines")
    assert (samples["first_version"] <= samples["last_version"]).all()
    for _, mine in engines.groupby("engine"):
        assert mine["version"].is_monotonic_increasing


def same_tables(first: Run, second: Run) -> None:
    """To the last bit; NaN is like NaN."""
    for name in ("rl_steps", "rl_phases", "samples", "requests", "steps", "clock", "intervals"):
        pd.testing.assert_frame_equal(first.table(name), second.table(name), check_exact=True)


def fates(run: Run) -> dict[str, int]:
    """Samples by fate."""
    counted: pd.Series[int] = run.table("samples")["state"].value_counts()
    return {fate: int(counted.get(fate, 0)) for fate in FATES}
