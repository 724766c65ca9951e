"""The loop: who waits for whom, what is trained on, and what becomes of every sample."""

from __future__ import annotations

import numpy as np
import pytest
from helpers import Run, planned, play
from helpers.loops import fates, loop_laws, loop_tree, play_loop, same_tables
from hypothesis import given, settings
from hypothesis import strategies as st

from sim.errors import ScenarioError
from sim.perf.training import packed_batch

CADENCES = [
    "synchronous",
    "one_step_off",
    {"asynchronous": {"staleness": 0}},
    {"asynchronous": {"staleness": 2}},
    {"asynchronous": {"staleness": 2, "update": "interrupt"}},
    {"asynchronous": {"staleness": 1, "update": "drain", "max_age": 1}},
    {"asynchronous": {"staleness": 1, "order": "in_order"}},
    {"asynchronous": {"staleness": 2, "sync_every": 2}},
]


@pytest.mark.parametrize("cadence", CADENCES, ids=str)
def test_every_sample_has_one_fate_and_every_second_a_use(cadence: object) -> None:
    run = play_loop(cadence)
    loop_laws(run)
    assert fates(run)["trained"] == 4 * 6 * 3


@settings(max_examples=15, deadline=None)
@given(
    cadence=st.sampled_from(CADENCES),
    per_prompt=st.integers(1, 4),
    correlation=st.sampled_from([0.0, 0.7]),
    seqs=st.sampled_from([2, 5, 30]),
    seed=st.integers(0, 10),
)
def test_leaping_changes_nothing(
    cadence: object, per_prompt: int, correlation: float, seqs: int, seed: int
) -> None:
    def once(leap: bool) -> Run:
        engine = {"max_num_seqs": seqs, "max_num_batched_tokens": 64}
        engine["gpu_memory_utilization"] = 0.6  # type: ignore[assignment]
        pool = {"engines": 2, "timer": {"constant": {"step_s": 0.01}}, "engine": engine}
        return play_loop(
            cadence,
            samples_per_prompt=per_prompt,
            prompt_correlation=correlation,
            top={"leap": leap, "seed": seed, "pools": {"rollout": pool}},
        )

    stepped, leapt = once(False), once(True)
    loop_laws(leapt)
    same_tables(stepped, leapt)


def test_the_same_sample_is_as_long_whatever_the_cadence() -> None:
    def lengths(run: Run) -> dict[tuple[int, int], int]:
        s = run.table("samples")
        s = s[s["state"] == "trained"]
        return dict(
            zip(zip(s["prompt"], s["index"], strict=True), s["response_tokens"], strict=True)
        )

    one, other = lengths(play_loop("one_step_off")), lengths(play_loop({"asynchronous": {}}))
    common = set(one) & set(other)
    assert len(common) > 50
    assert all(one[key] == other[key] for key in common)


def test_a_synchronous_step_is_its_parts_one_after_the_other() -> None:
    steps = play_loop("synchronous", prepare_s=0.5).table("rl_steps")
    assert (steps["exposed_generation_s"] == steps["generation_s"]).all()
    assert (steps["prepare_s"] - 0.5).abs().max() < 1e-9
    assert (steps["train_s"] > 0).all()
    assert (steps["staleness_max"] == 0).all()


def test_one_step_off_trains_on_the_policy_before() -> None:
    steps = play_loop("one_step_off").table("rl_steps")
    assert steps["staleness"].tolist() == [0.0, 1.0, 1.0, 1.0]
    assert (steps["exposed_generation_s"].iloc[1:-1] < steps["generation_s"].iloc[2:].max()).all()


def test_one_step_off_takes_the_longer_of_generation_and_training() -> None:
    steps = play_loop("one_step_off", steps=6).table("rl_steps")
    for k in range(1, 5):
        made = steps["generation_s"][k + 1]
        trained = steps["logprob_s"][k] + steps["train_s"][k]
        whole = steps["end_s"][k] - steps["start_s"][k]
        assert whole == pytest.approx(max(made, trained) + steps["sync_s"][k], abs=0.011)


@pytest.mark.parametrize("staleness", [0, 1, 3])
def test_no_prompt_is_submitted_before_the_rule_admits_it(staleness: int) -> None:
    """AReaL, equation 3: floor((N − 1)/B) <= i + eta for the N-th prompt."""
    run = play_loop({"asynchronous": {"staleness": staleness}}, steps=6)
    samples, steps = run.table("samples"), run.table("rl_steps")
    asked = np.sort(samples.groupby("prompt")["submitted_s"].min().to_numpy())
    updates = steps["end_s"].to_numpy() - steps["sync_s"].to_numpy()
    for n, at in enumerate(asked, start=1):
        version = int((updates <= at + 1e-9).sum())
        assert (n - 1) // 6 <= version + staleness
    assert len(asked) == (6 + staleness) * 6


def test_in_order_no_group_is_older_than_staleness_allows() -> None:
    cadence = {"asynchronous": {"staleness": 1, "order": "in_order"}}
    run = play_loop(cadence, steps=8, response_tokens=TAIL)
    assert run.table("rl_steps")["staleness_max"].max() <= 1
    loose = play_loop({"asynchronous": {"staleness": 1}}, steps=8, response_tokens=TAIL)
    assert loose.table("rl_steps")["staleness_max"].max() > 1


TAIL = {"lognormal": {"mean_tokens": 300, "sigma": 1.5, "max_tokens": 3000}}


def test_what_is_too_old_is_dropped_and_counted() -> None:
    cadence = {"asynchronous": {"staleness": 2, "max_age": 1, "order": "as_ready"}}
    run = play_loop(cadence, steps=6, response_tokens=TAIL)
    loop_laws(run)
    samples = run.table("samples")
    assert fates(run)["stale"] > 0
    trained = samples[samples["state"] == "trained"].set_index("step")
    version = run.table("rl_steps").set_index("step")["version"]
    assert (version.loc[trained.index].to_numpy() - trained["first_version"] <= 1).all()


def test_interrupted_samples_compute_their_kv_again_and_kept_ones_do_not() -> None:
    def recomputed(update: str) -> int:
        run = play_loop({"asynchronous": {"staleness": 2, "update": update}}, response_tokens=TAIL)
        interrupted = run.table("samples")["interruptions"].sum()
        assert (interrupted > 0) == (update != "drain")
        return int(run.requests["recomputed_tokens"].sum())

    assert recomputed("in_flight") == 0
    assert recomputed("interrupt") > 0


def test_tokens_remember_the_version_that_made_them() -> None:
    run = play_loop({"asynchronous": {"staleness": 2}}, response_tokens=TAIL, steps=6)
    samples = run.table("samples")
    crossing = samples[samples["first_version"] < samples["last_version"]]
    assert len(crossing)
    assert (crossing["interruptions"] > 0).all()
    trained = crossing[crossing["state"] == "trained"]
    assert (trained["staleness"] < trained["staleness_max"]).all()


def test_a_longer_tail_makes_a_synchronous_step_longer_than_an_asynchronous_one() -> None:
    def seconds(cadence: object) -> float:
        steps = play_loop(
            cadence, steps=6, response_tokens=TAIL, trainer={"placement": "apart"}
        ).table("rl_steps")
        return float(np.diff(steps["end_s"]).mean())

    assert seconds({"asynchronous": {"staleness": 2}}) < 0.7 * seconds("synchronous")


def test_all_weights_cross_the_fabric() -> None:
    run = play_loop({"asynchronous": {}}, steps=3)
    plan = run.plan.loop
    assert plan is not None
    sent = run.table("rl_steps")["sync_bytes"]
    assert (sent == plan.to_engines.nbytes).all()
    weights = 2.0 * 8_190_735_360
    assert plan.to_engines.nbytes == pytest.approx(2 * weights, rel=1e-3)
    exchanged = 2 * 0.5 * (4.0 + 2.0) * 8_190_735_360  # two replicas: gradients in, weights out
    crossed = run.table("links")["bytes"].sum()
    each_on_two_links = 2 * 3 * (sent.iloc[0] + exchanged)
    assert crossed == pytest.approx(each_on_two_links, rel=1e-3)


def test_exchanges_of_a_trainer_alone_take_what_its_step_says() -> None:
    run = play_loop("synchronous", steps=2, trainer={"logprobs": False})
    plan = run.plan.loop
    assert plan is not None
    samples = run.table("samples")
    for step, row in run.table("rl_steps").iterrows():
        mine = samples[samples["step"] == step]
        lengths = (mine["prompt_tokens"] + mine["response_tokens"]).tolist()
        priced = plan.trainer.plan(packed_batch(lengths, 2048, 2), check=False).seconds
        assert row["train_s"] == pytest.approx(priced, rel=1e-4)


def test_a_run_that_is_ended_early_counts_what_is_in_flight() -> None:
    run = play_loop({"asynchronous": {}}, top={"until_s": 1.0})
    assert fates(run)["in_flight"] > 0
    assert sum(fates(run).values()) == len(run.table("samples"))


def test_counts_of_a_played_plan_match_its_tree() -> None:
    tree = loop_tree("synchronous", steps=2)
    run = play(tree)
    assert len(run.table("rl_steps")) == 2


def test_a_loop_whose_filter_keeps_nothing_ends_and_says_why() -> None:
    nobody = {"dynamic": {"mean_pass_rate": 1e-9, "concentration": 1000.0}}
    run = play_loop("synchronous", prompts_per_step=2, response_tokens=SHORT, filter=nobody)
    assert run.outcome.gave_up.startswith("101 groups in a row were filtered")
    assert not len(run.table("rl_steps"))
    assert fates(run)["filtered"] == 101 * 3
    assert sum(fates(run).values()) == len(run.table("samples"))


SHORT = {"constant": {"tokens": 4}}


def test_checkpoints_and_failures_take_the_trainers_time() -> None:
    """One failure every step or so; everything since the last checkpoint is done again."""
    often = {"gpu_mtbf_hours": 0.002, "recovery": {"restart": {"detect_s": 7.0}}}
    kept = {"interval_steps": 2, "mode": "blocking"}
    trainer = {"failures": often, "checkpoints": kept}
    run = play_loop("synchronous", steps=12, response_tokens=SHORT, trainer=trainer)
    loop_laws(run)
    steps = run.table("rl_steps")
    saved = steps["checkpoint_s"] > 0
    assert saved.tolist() == [i % 2 == 1 for i in range(12)]
    failed = steps[steps["recovery_s"] > 0]
    assert 0 < len(failed) < 12
    assert (failed["recovery_s"] >= 7.0 + 120.0 + 82.0).all()


def test_survivors_are_slower_until_a_replacement_joins() -> None:
    often = {"gpu_mtbf_hours": 0.004, "recovery": {"elastic": {"replace_s": 1e6}}}
    run = play_loop("synchronous", steps=8, trainer={"failures": often})
    loop_laws(run)
    steps = run.table("rl_steps")
    first = int((steps["recovery_s"] > 0).idxmax())
    per_token = steps["train_s"] / (steps["prompt_tokens"] + steps["response_tokens"])
    assert per_token[first + 1 :].mean() > 1.3 * per_token[: first + 1].mean()


def test_relays_let_engines_go_on_while_weights_travel() -> None:
    def waits(sync: dict[str, object]) -> tuple[float, float]:
        run = play_loop({"asynchronous": {"staleness": 1}}, steps=5, weight_sync=sync)
        loop_laws(run)
        steps, phases = run.table("rl_steps"), run.table("rl_phases")
        paused = phases[(phases["actor"] == "rollout") & (phases["phase"] == "sync")]
        return float(steps["sync_s"].mean()), float((paused["end_s"] - paused["start_s"]).sum())

    pushed, pulled = waits({"by": "relay"}), waits({"by": "relay", "pull": True})
    assert pulled[0] < pushed[0]
    assert pulled[1] == 0.0 < pushed[1]


def test_a_sparse_sync_sends_less() -> None:
    whole = play_loop({"asynchronous": {}}, steps=2).table("rl_steps")["sync_bytes"]
    sparse = play_loop({"asynchronous": {}}, steps=2, weight_sync={"sparse_share": 0.1}).table(
        "rl_steps"
    )["sync_bytes"]
    assert sparse.iloc[0] == pytest.approx(whole.iloc[0] * 0.1 * (2 + 4) / 2)


def test_prompts_that_the_cadence_gives_up_are_no_reason_to_give_up_the_loop() -> None:
    """59 of 60 groups of every step are given up, more than a filter may drop in a row."""
    many = {"over_sampling": {"factor": 60.0}}
    run = play_loop(many, steps=2, prompts_per_step=2, samples_per_prompt=1, response_tokens=SHORT)
    assert not run.outcome.gave_up
    assert fates(run)["trained"] == 2 * 2
    loop_laws(run)


def test_nobody_runs_further_ahead_than_the_loop_is_long() -> None:
    run = play_loop({"asynchronous": {"staleness": 10**9}}, steps=3, response_tokens=SHORT)
    loop_laws(run)
    assert run.table("samples")["prompt"].nunique() <= (3 + 3) * 6


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"samples_per_prompt": 0}, "samples_per_prompt"),
        ({"trainer": {"layout": {"tp": 3, "dp": 1}, "placement": "apart"}}, "does not divide"),
        ({"trainer": {"layout": {"tp": 1, "dp": 9}, "placement": "apart"}}, "needs 9 h100 GPUs"),
        ({"trainer": {"layout": {"tp": 1, "dp": 1}, "recipe": {}}}, "does not fit"),
        ({"prompt_correlation": 0.5, "response_tokens": SHORT}, "prompt_correlation 0.5"),
        ({"trainer": {"layout": {"tp": 1, "dp": 2}, "mini_batches": 10}}, "mini-batches"),
        (
            {"trainer": {"layout": {"tp": 1, "dp": 1}, "failures": {"recovery": "elastic"}}},
            "dp is 1",
        ),
        ({"weight_sync": {"by": "relay"}}, "weight_sync has no effect"),
        ({"response_tokens": {"constant": {"tokens": 10**6}}}, "longest sample"),
        ({"cadence": {"asynchronous": {"sync_every": 4, "max_age": 1}}}, "never be met"),
        ({"cadence": "one_step_off"}, "placement: apart"),
    ],
)
def test_what_cannot_be_is_refused_in_a_sentence(changes: dict[str, object], says: str) -> None:
    tree = loop_tree("synchronous")
    trainer = changes.pop("trainer", {})
    tree["rl"] |= changes
    tree["rl"]["trainer"] |= trainer
    with pytest.raises(ScenarioError, match=says):
        planned(tree)


def test_a_trainer_placed_by_its_networks_is_quicker_than_one_in_order() -> None:
    """Holmes: two replicas a network keep their sums inside it."""

    def train_s(by_network: bool) -> float:
        kinds = ["infiniband", "roce"] * 2
        trainer = {
            "layout": {"tp": 8, "pp": 2, "dp": 2},
            "placement": "apart",
            "nics": {"nodes": ["ethernet", *kinds]},
            "by_network": by_network,
        }
        top = {"topology": {"name": "dgx_h100", "nodes": 5}, "pools": ON_ITS_OWN_NODE}
        run = play_loop("synchronous", steps=2, top=top, trainer=trainer)
        loop_laws(run)
        return float(run.table("rl_steps")["train_s"].mean())

    assert train_s(True) < train_s(False)


ON_ITS_OWN_NODE = {
    "rollout": {
        "engines": 1,
        "layout": {"tensor": {"tp": 8}},
        "timer": {"constant": {"step_s": 0.01}},
    }
}


def test_stages_that_are_skipped_cost_nothing() -> None:
    def train_s(skipped: int) -> float:
        trainer = {
            "layout": {"tp": 1, "pp": 4, "dp": 1, "skipped": skipped},
            "placement": "apart",
            "recipe": {"recompute": "full"},
            "micro_batch_tokens": 300,
        }
        run = play_loop("synchronous", steps=2, trainer=trainer)
        return float(run.table("rl_steps")["train_s"].mean())

    whole, half = train_s(0), train_s(2)
    assert 0.3 * whole < half < 0.75 * whole


@pytest.mark.parametrize("cadence", [*CADENCES, "partial_rollout", "tail_packing"], ids=str)
@pytest.mark.parametrize("until_s", [3.0, 7.0, 7.7, 11.0])
def test_a_loop_that_is_ended_anywhere_adds_up(cadence: object, until_s: float) -> None:
    """In a pass, between training and weight sync, in the middle of a sync."""
    run = play_loop(cadence, top={"until_s": until_s}, weight_sync=SLOW if slow(cadence) else {})
    loop_laws(run)


SLOW = {"reload_s": 2.0}


def slow(cadence: object) -> bool:
    """Whether its trainer has GPUs of its own, and so a sync that can be made long."""
    return cadence != "synchronous"


def test_turns_wait_until_relays_have_been_pulled_from() -> None:
    pulled = {"by": "relay", "pull": True}
    run = play_loop("synchronous", steps=6, trainer={"placement": "apart"}, weight_sync=pulled)
    loop_laws(run)
    assert run.table("rl_steps")["staleness_max"].max() == 0
