"""Cadences that do not wait for the longest answers: what they gain, and what they pay for it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from helpers import Run, planned
from helpers.loops import fates, loop_laws, loop_tree, play_loop

from sim.errors import ScenarioError

STEPS = 10


def looped(cadence: Any, **changes: Any) -> Run:
    """One engine that has room for all, so that a sample takes a hundredth of a second a token."""
    engine = {"max_num_seqs": 64, "max_num_batched_tokens": 2048, "gpu_memory_utilization": 0.6}
    step_s = changes.pop("step_s", 0.01)
    pool = {"engines": changes.pop("engines", 1), "timer": {"constant": {"step_s": step_s}}}
    tail = {"lognormal": {"mean_tokens": 60, "sigma": 1.0, "max_tokens": 600}}
    run = play_loop(
        cadence,
        steps=STEPS,
        samples_per_prompt=4,
        response_tokens=tail,
        trainer={"placement": "apart"},
        top={"pools": {"rollout": pool | {"engine": engine}}},
        **changes,
    )
    loop_laws(run)
    return run


def generation_s(run: Run) -> float:
    return float(run.table("rl_steps")["exposed_generation_s"].sum())


def by_fate(run: Run, fate: str) -> pd.DataFrame:
    samples = run.table("samples")
    return samples[samples["state"] == fate]


def test_over_sampling_is_as_quick_as_its_quickest_groups_and_favours_short_answers() -> None:
    plain, quick = looped("synchronous"), looped({"over_sampling": {"factor": 1.5}})
    assert generation_s(quick) < generation_s(plain)
    assert fates(quick)["trained"] == fates(plain)["trained"]
    assert len(by_fate(quick, "aborted")) == STEPS * 3 * 4
    trained, law = by_fate(quick, "trained"), by_fate(plain, "trained")
    assert trained["response_tokens"].mean() < law["response_tokens"].mean()


def test_one_round_in_five_is_long_and_the_others_are_short() -> None:
    """A quarter of a batch is put off in each short round (6 · 1.25 = 8 prompts, 2 of them), so
    after three short rounds of six prompts comes a long one."""
    run = looped("tail_packing")
    steps = run.table("rl_steps")
    again = by_fate(run, "trained").groupby("step")["prompt"].agg(set)
    put_off = by_fate(run, "aborted").groupby("prompt").size()
    whole = set(put_off[put_off >= 5].index)  # all samples of the prompt were given up
    rounds = [bool(again[step] & whole) for step in steps["step"]]
    assert rounds == [False, False, False, True, False, False, False, True, False, False]
    for step, is_long in zip(steps["step"], rounds, strict=True):
        if is_long:
            assert again[step] <= whole
    longest = steps["longest_tokens"].to_numpy()
    assert longest[np.array(rounds)].min() > longest[~np.array(rounds)].max()


def test_tail_packing_gains_time_and_loses_no_prompt() -> None:
    plain, packed = looped("synchronous"), looped("tail_packing")
    assert generation_s(packed) < generation_s(plain)
    begun = packed.table("samples")["prompt"].max() + 1
    trained = by_fate(packed, "trained")["prompt"].nunique()
    assert trained == STEPS * 6
    put_off = set(by_fate(packed, "aborted")["prompt"]) - set(by_fate(packed, "trained")["prompt"])
    assert trained + len(put_off) == begun
    assert len(put_off) < 6  # of the rounds since the last long one


def test_in_a_short_round_the_quickest_samples_of_a_prompt_are_kept() -> None:
    samples = looped("tail_packing").table("samples")
    mates = samples.groupby("prompt")["state"].agg(list)
    kept = mates[mates.map(lambda s: s.count("trained") == 4 and len(s) == 5)]
    assert len(kept) > 0
    for prompt in kept.index:
        mine = samples[samples["prompt"] == prompt]
        gone = mine[mine["state"] == "aborted"]
        assert gone["response_tokens"].max() <= mine["response_tokens"].max()


@pytest.mark.parametrize("kv", ["recompute", "keep"])
def test_partial_rollouts_throw_no_token_away(kv: str) -> None:
    run = looped({"partial_rollout": {"factor": 2.0, "kv": kv}})
    assert fates(run)["aborted"] == 0
    plain = looped("synchronous")
    assert generation_s(run) < generation_s(plain)
    steps = run.table("rl_steps")
    assert steps["staleness"].max() > 0
    interrupted = by_fate(run, "trained").query("interruptions > 0")
    assert (interrupted["first_version"] < interrupted["last_version"]).all()
    again = run.requests["recomputed_tokens"].sum()
    assert (again > 0) == (kv == "recompute")


def test_the_last_partial_rollout_leaves_its_longest_samples_unfinished() -> None:
    """It waits for as few as the steps before it, not for all that were begun."""
    run = looped({"partial_rollout": {"factor": 2.0}})
    waits = run.table("rl_steps")["exposed_generation_s"].to_numpy()
    assert fates(run)["in_flight"] == 6 * 4  # prompts in flight beyond those trained on
    assert waits[-1] <= waits[1:-1].max()


def test_with_factor_1_partial_rollouts_are_synchronous() -> None:
    one, other = looped({"partial_rollout": {"factor": 1.0}}), looped("synchronous")
    assert one.table("samples")["response_tokens"].sum() == (
        other.table("samples")["response_tokens"].sum()
    )
    assert one.table("rl_steps")["staleness_max"].max() == 0


def test_a_colocated_trainer_takes_the_memory_of_the_kv_cache() -> None:
    colocated = {"placement": "colocated"}
    with pytest.raises(ScenarioError, match="kv: recompute"):
        planned(loop_tree({"partial_rollout": {"kv": "keep"}}, trainer=colocated))
    for cadence in ("partial_rollout", "tail_packing", "over_sampling"):
        loop_laws(play_loop(cadence, trainer=colocated))


PULLED = {"weight_sync": {"by": "relay", "pull": True}}


def test_repacked_engines_go_on_at_their_own_pace_with_one_version_a_sample() -> None:
    run = looped({"repacking": {"every_s": 5.0, "staleness": 3}}, engines=4, step_s=0.3, **PULLED)
    samples, stays = run.table("samples"), run.table("intervals")
    assert (samples["first_version"] == samples["last_version"]).all()
    assert (stays["closed"] == "withdrawn").any()
    loads = run.table("engines")
    loads = loads[loads["version"] > 0].drop_duplicates(["engine", "version"])
    assert loads.groupby("version")["time_s"].nunique().max() > 1


def test_merging_engines_that_run_dry_makes_more_tokens_in_the_same_time() -> None:
    """Looked at so seldom that nothing is ever merged, the same loop takes longer to generate."""

    def rate(every_s: float) -> float:
        cadence = {"repacking": {"every_s": every_s, "staleness": 8, "prompts_per_engine": 6}}
        run = looped(cadence, engines=4, step_s=0.3, **PULLED)
        trained = by_fate(run, "trained")
        return float(trained["generated_s"].max())

    assert rate(5.0) < rate(1e6)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({}, "pull: true"),
        ({"trainer": {"placement": "colocated"}}, "placement: apart"),
        (
            PULLED
            | {
                "top": {
                    "pools": {"prefill": {}, "decode": {}},
                    "deployment": {"disaggregated": {}},
                }
            },
            "aggregated",
        ),
    ],
)
def test_repacking_where_engines_cannot_go_by_themselves_is_refused(
    changes: dict[str, Any], says: str
) -> None:
    with pytest.raises(ScenarioError, match=says):
        planned(loop_tree("repacking", **changes))
