"""Played loops against closed forms: staleness at a fixed rate, step times, and Amdahl's bound."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from helpers import Run, constant
from helpers.loops import play_loop

from sim.perf.training.asynchrony import (
    asynchronous_s,
    end_to_end_bound,
    mean_staleness,
    one_step_off_s,
    synchronous_s,
)

STEP_S, SEQUENCES, TOKENS = 0.5, 10, 89


def fixed_rate(steps: int = 14, prompts: int = 20, step_s: float = STEP_S) -> Run:
    """One engine in which samples begin one a pass and so end one after the other, at even gaps:
    a prompt takes all of a pass that decodes leave."""
    engine = {
        "max_num_seqs": SEQUENCES,
        "max_num_batched_tokens": SEQUENCES + 20,
        "gpu_memory_utilization": 0.6,
        "enable_prefix_caching": False,
    }
    pool = {"engines": 1, "timer": {"constant": {"step_s": step_s}}, "engine": engine}
    return play_loop(
        {"asynchronous": {"staleness": 50, "order": "as_ready"}},
        steps=steps,
        prompts_per_step=prompts,
        samples_per_prompt=1,
        prompt_tokens=constant(20),
        response_tokens=constant(TOKENS),
        top={"pools": {"rollout": pool}},
    )


@pytest.mark.parametrize("prompts", [5, 20, 37])
def test_staleness_at_a_fixed_rate_is_that_of_the_closed_form(prompts: int) -> None:
    run = fixed_rate(prompts=prompts)
    steps, samples = run.table("rl_steps"), run.table("samples")
    trained = samples[samples["state"] == "trained"]
    late = trained[trained["step"] >= 6]
    lag = steps.set_index("step")["version"].loc[late["step"]].to_numpy() - late["first_version"]
    ended = np.sort(trained["generated_s"].to_numpy())
    rate = (len(ended) - 1) / (ended[-1] - ended[0])
    busy = steps["train_s"] + steps["logprob_s"] + steps["sync_s"]
    assert busy.max() < prompts / rate
    rollout_s = (TOKENS - 1) * STEP_S + steps["sync_s"].mean()
    expected = mean_staleness(prompts, rate, rollout_s, float(busy.mean()))
    assert lag.mean() == pytest.approx(expected, abs=0.15)


def test_steps_of_a_loop_bound_by_rollouts_come_at_their_rate() -> None:
    run = fixed_rate()
    steps, samples = run.table("rl_steps"), run.table("samples")
    ended = np.sort(samples["generated_s"].dropna().to_numpy())
    rate = (len(ended) - 1) / (ended[-1] - ended[0])
    busy = steps["train_s"] + steps["logprob_s"] + steps["sync_s"]
    whole = (steps["end_s"] - steps["start_s"])[4:].mean()
    assert whole == pytest.approx(asynchronous_s(20, rate, float(busy.mean())), rel=0.05)


@pytest.mark.parametrize("step_s", [0.002, 0.05, 0.4])
def test_cadences_take_what_their_closed_forms_say(step_s: float) -> None:
    """Whether generation or training is longer."""
    pool = {"engines": 2, "timer": {"constant": {"step_s": step_s}}}
    pool["engine"] = {"max_num_seqs": 32, "gpu_memory_utilization": 0.6}  # type: ignore[assignment]
    same: dict[str, Any] = {
        "response_tokens": constant(60),
        "steps": 6,
        "top": {"pools": {"rollout": pool}},
        "trainer": {"placement": "apart"},
    }
    turns = play_loop("synchronous", **same).table("rl_steps")
    works = (turns["train_s"] + turns["logprob_s"]).mean()
    made, moved = turns["generation_s"].mean(), turns["sync_s"].mean()
    whole = (turns["end_s"] - turns["start_s"]).mean()
    assert whole == pytest.approx(synchronous_s(made, works, 0.0, moved), rel=1e-3)
    off = play_loop("one_step_off", **same).table("rl_steps")
    steady = (off["end_s"] - off["start_s"])[1:-1].mean()
    assert steady == pytest.approx(one_step_off_s(made, works, moved), rel=0.05)


def test_no_loop_gains_more_than_its_share_of_generation_allows() -> None:
    """Passes twice as quick: S ≤ 1/(R/2 + 1 − R)."""

    def seconds(step_s: float) -> tuple[float, float]:
        pool = {"engines": 2, "timer": {"constant": {"step_s": step_s}}}
        pool["engine"] = {"max_num_seqs": 8, "gpu_memory_utilization": 0.6}  # type: ignore[assignment]
        steps = play_loop("synchronous", top={"pools": {"rollout": pool}}).table("rl_steps")
        whole = float((steps["end_s"] - steps["start_s"]).sum())
        return whole, float(steps["generation_s"].sum())

    (slow, made), (quick, _) = seconds(0.04), seconds(0.02)
    bound = end_to_end_bound(made / slow, 2.0)
    assert bound * 0.98 < slow / quick <= bound * (1 + 1e-9)
