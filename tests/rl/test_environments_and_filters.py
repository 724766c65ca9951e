"""What happens between turns, and which groups are worth training on."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from helpers import Run
from helpers.loops import fates, loop_laws, play_loop
from scipy.stats import beta, betabinom

from sim.rl.filters.dynamic import Dynamic
from sim.rl.samples import Group, Sample
from sim.rng import Draws

TOOLS: dict[str, Any] = {
    "turns": {"uniform": {"min_tokens": 1, "max_tokens": 4}},
    "answer_tokens": {"constant": {"tokens": 30}},
    "seconds": {"mean_s": 0.3, "cv": 1.0},
}


def with_tools(cadence: Any = "synchronous", **changes: Any) -> Run:
    tools, more = TOOLS | changes.pop("tools", {}), changes
    run = play_loop(cadence, environment={"tools": tools}, **more)
    loop_laws(run)
    return run


def test_every_turn_is_a_request_whose_prompt_is_all_that_was_before() -> None:
    run = with_tools()
    samples, requests = run.table("samples"), run.requests.set_index("request")
    assert set(samples["turns"]) == {1, 2, 3, 4}
    assert samples["turns"].sum() == len(requests)
    last = requests.loc[samples["request"]]
    whole = last["prompt_tokens"].to_numpy() + last["output_tokens"].to_numpy()
    added = 30 * (samples["turns"] - 1)
    expected = samples["prompt_tokens"] + samples["response_tokens"] + added
    assert (whole == expected.to_numpy()).all()
    assert requests["output_tokens"].sum() == samples["response_tokens"].sum()


def test_a_sample_generates_as_much_with_tools_as_without() -> None:
    runs = with_tools(), play_loop("synchronous")
    one, other = (r.table("samples").sort_values("sample") for r in runs)
    assert one["response_tokens"].tolist() == other["response_tokens"].tolist()
    assert (one["tools_s"] > 0).sum() == (one["turns"] > 1).sum()


def test_what_was_said_before_is_found_in_the_cache() -> None:
    """With room for all, the engine of a sample's last turn still has every full block of it but
    those of the tool's answer; blocks of prompts are shared with the group."""
    run = with_tools(top=one_engine(True))
    bare = with_tools(top=one_engine(False))
    hits = run.requests["cached_tokens"].sum() / run.requests["prompt_tokens"].sum()
    assert hits > 0.4
    assert bare.requests["cached_tokens"].sum() == 0
    samples, requests = run.table("samples"), run.requests.set_index("request")
    late = samples[samples["turns"] > 1]
    before = requests.loc[late["request"]]
    had = before["prompt_tokens"] - 30 - 1  # the answer before, its last token has no KV
    assert (before["cached_tokens"] == had // 16 * 16).all()


def one_engine(caching: bool) -> dict[str, Any]:
    engine = {"max_num_seqs": 8, "max_num_batched_tokens": 64, "gpu_memory_utilization": 0.6}
    timer = {"constant": {"step_s": 0.01}}
    return {
        "pools": {
            "rollout": {
                "engines": 2,
                "timer": timer,
                "engine": engine | {"enable_prefix_caching": caching},
            }
        },
        "deployment": {"aggregated": {"router": {"prefix_affinity": {}}}},
        "topology": {"name": "dgx_h100", "nodes": 1},
    }


def test_few_tool_workers_are_waited_for_and_a_time_out_ends_long_calls() -> None:
    many = with_tools().table("samples")["tools_s"].sum()
    few = with_tools(tools={"workers": 1}).table("samples")["tools_s"].sum()
    alone, line = (
        with_tools(tools=limit).table("samples").sort_values("sample")
        for limit in ({}, {"workers": 1})
    )
    assert (alone["tools_wait_s"] == 0).all()
    worked = (line["tools_s"] - line["tools_wait_s"]).to_numpy()
    assert worked == pytest.approx(alone["tools_s"].to_numpy())  # calls are as long as they were
    cut = with_tools(tools={"timeout_s": 0.05}).table("samples")
    assert few > many
    assert (cut["tools_s"] <= 0.05 * (cut["turns"] - 1) + 1e-9).all()


def test_tools_go_on_while_weights_are_loaded_and_samples_are_interrupted() -> None:
    for update in ("in_flight", "interrupt", "drain"):
        run = with_tools({"asynchronous": {"staleness": 2, "update": update}})
        assert fates(run)["trained"] == 4 * 6 * 3


def kept_share(rule: Dynamic, groups: int, each: int) -> float:
    running = rule.start(Draws(3, "f"))
    kept = 0
    for prompt in range(groups):
        group = Group(prompt, 0.0, 0)
        group.samples = [Sample(i, group, i, 1, 1, 0.0) for i in range(each)]
        kept += running.keeps(group)
    return kept / groups


@pytest.mark.parametrize(("mean", "concentration"), [(0.5, 1.0), (0.2, 2.0), (0.8, 10.0)])
def test_groups_of_mixed_success_are_as_many_as_the_beta_binomial_law_has(
    mean: float, concentration: float
) -> None:
    a, b = mean * concentration, (1 - mean) * concentration
    law = betabinom(8, a, b)
    expected = 1.0 - law.pmf(0) - law.pmf(8)
    found = kept_share(Dynamic(mean_pass_rate=mean, concentration=concentration), 3000, 8)
    assert abs(found - expected) < 5 * np.sqrt(expected * (1 - expected) / 3000)
    assert Dynamic(mean_pass_rate=mean, concentration=concentration).pass_rate(
        0.3
    ) == pytest.approx(beta(a, b).ppf(0.3))


@pytest.mark.parametrize("cadence", ["synchronous", "one_step_off", {"asynchronous": {}}])
def test_dropped_groups_are_replaced_until_every_batch_is_full(cadence: Any) -> None:
    run = play_loop(cadence, filter={"dynamic": {"mean_pass_rate": 0.5}})
    loop_laws(run)
    found = fates(run)
    assert found["trained"] == 4 * 6 * 3
    assert found["filtered"] > 0
    by_prompt = run.table("samples").groupby("prompt")["state"].nunique()
    assert (by_prompt == 1).all()  # a group has one fate
