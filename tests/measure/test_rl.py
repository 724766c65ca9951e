"""What is measured of a reinforcement-learning loop."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from helpers.toy_loops import ToyLoop
from hypothesis import given
from hypothesis import strategies as st
from miniature import Tables, aggregated, loop

from sim.errors import BrokenInvariant
from sim.measure.loop import Loop
from sim.measure.loop_invariants import check_loop
from sim.measure.rl import drafting_bound, rollout_idle
from sim.measure.summary import measure
from sim.measure.utilisation import Activity


def test_the_numbers_of_a_loop_are_those_counted_by_hand(tmp_path: Path) -> None:
    rl = measure(loop().write(tmp_path))["rl"]
    assert rl["steps"] == 2
    assert rl["gpus"] == {"rollout": 2, "trainer": 2, "reward": 0, "total": 4}
    assert rl["step_s"]["mean"] == 7.0
    assert rl["generation_s"]["mean"] == 5.0
    assert rl["exposed_generation_s"]["mean"] == 2.5
    assert rl["exposed_reward_s"]["mean"] == 0.5
    assert rl["wait_s"]["p50"] == 3.0
    shares = {"generation": 5, "reward": 1, "training": 6, "sync": 2, "faults": 0, "other_wait": 0}
    assert rl["shares"] == pytest.approx({name: n / 14 for name, n in shares.items()})
    assert rl["accepted_samples_per_s"] == pytest.approx(4 / 14)
    assert rl["samples"] == {
        "generated": 6, "trained": 4, "filtered": 1, "stale": 0, "aborted": 0, "in_flight": 1,
    }  # fmt: skip
    assert rl["response_tokens"]["mean"] == 30.0
    assert rl["response_tokens"]["max"] == 60
    assert rl["response_tokens"]["idle_of_longest"] == pytest.approx(1 / 3)
    assert rl["response_tokens_per_s"] == pytest.approx(50 / 14)
    assert rl["response_tokens_per_s_per_gpu"] == pytest.approx(
        {"all": 50 / 56, "rollout": 50 / 28}
    )
    assert rl["trained_tokens_per_s_per_gpu"] == pytest.approx(160 / 56)


def test_staleness_is_weighed_by_tokens(tmp_path: Path) -> None:
    staleness = measure(loop().write(tmp_path))["rl"]["staleness"]
    assert staleness["mean"] == pytest.approx(20 / 120)
    assert staleness["p50"] == 0.0  # sample 2 has half of the tokens
    assert staleness["p90"] == pytest.approx(1 / 3)
    assert staleness["max"] == 1


def test_idleness_of_rollouts_and_trainer_is_that_of_the_loops_time(tmp_path: Path) -> None:
    run = loop().write(tmp_path)
    rl = measure(run)["rl"]
    assert rl["rollout"]["idle_share"] == pytest.approx(3 / 14)
    assert rl["rollout"]["tail_share"] == 0.0  # a tenth of two samples is none
    assert rl["trainer"]["idle_share"] == pytest.approx(6 / 14)
    assert rl["trainer"]["tokens_per_s_per_gpu"] == pytest.approx(160 / 12)
    assert rl["trainer"]["mfu"] == 0.5
    assert rl["trainer"]["bubble"] == 0.25
    read = Loop.read(run)
    assert read is not None
    assert rollout_idle(read, Activity.read(run)) == pytest.approx([1 / 8, 2 / 6])


def test_a_trainer_on_the_rollouts_gpus_does_not_leave_them_idle(tmp_path: Path) -> None:
    rl = measure(ToyLoop(pieces=400).write(tmp_path))["rl"]
    apart = 1.0 - rl["shares"]["generation"] - rl["shares"]["training"] - rl["shares"]["sync"]
    assert rl["rollout"]["idle_share"] < rl["trainer"]["idle_share"]
    assert rl["rollout"]["idle_share"] > apart - 0.02  # engines end before the last one does


def test_the_first_steps_are_left_out_as_long_as_weights_are_young(tmp_path: Path) -> None:
    run = ToyLoop(steps=30, staleness=2).write(tmp_path)
    rl, steps = measure(run)["rl"], run.columns("rl_steps")
    first = 1 + int(np.ceil(steps["staleness"].max()))
    assert rl["steady"]["from_step"] == first
    assert rl["steady"]["wait_s"] == pytest.approx(steps["wait_s"][first:].mean())
    assert "batches" in rl["step_s_interval"]["rule"]
    assert rl["step_s_interval"]["low"] <= rl["steady"]["step_s"] <= rl["step_s_interval"]["high"]


def test_drafts_can_shorten_generation_alone(tmp_path: Path) -> None:
    """arXiv 2604.26779: a step of 185.3 s with 133.6 s of generation can be at most 1.85 times as
    quick with 2.77 tokens a verify step; here from 87 s of generation that were 1.536 as long."""
    share = 87.0 / 138.7
    told = drafting_bound(
        share, {"acceptance_length": {"mean": 2.77}, "speedup_over_plain": 133.6 / 87.0}
    )
    assert told["generation_share_without_drafts"] == pytest.approx(0.721, abs=0.002)
    assert told["end_to_end_bound"] == pytest.approx(1.85, abs=0.01)
    assert measure(loop().write(tmp_path))["rl"]["end_to_end_bound"] is None


def test_a_serving_run_has_no_loop(tmp_path: Path) -> None:
    assert "rl" not in measure(aggregated().write(tmp_path))


def test_a_loop_that_was_stopped_in_its_first_step_is_measured(tmp_path: Path) -> None:
    t = loop()
    t.rows.pop("rl_steps")
    for sample in t.rows["samples"]:
        sample |= {"state": 4, "step": -1, "uses": 0}
    rl = measure(t.write(tmp_path))["rl"]
    assert rl["steps"] == 0
    assert rl["samples"]["in_flight"] == rl["samples"]["generated"] == 6
    assert "first step" in rl["bottleneck"]


@given(
    seed=st.integers(0, 10_000), staleness=st.integers(0, 3), drop=st.sampled_from([0.0, 0.1, 0.4])
)
def test_any_consistent_loop_is_accepted_and_adds_up(
    tmp_path_factory: pytest.TempPathFactory, seed: int, staleness: int, drop: float
) -> None:
    toy = ToyLoop(seed=seed, staleness=staleness, drop=drop, steps=5)
    rl = measure(toy.write(tmp_path_factory.mktemp("loop")))["rl"]
    assert sum(rl["shares"].values()) == pytest.approx(1.0)
    counts = rl["samples"]
    assert counts["generated"] == sum(n for name, n in counts.items() if name != "generated")
    assert counts["generated"] == toy.begun
    assert 0.0 <= rl["rollout"]["idle_share"] <= 1.0
    assert 0.0 <= rl["rollout"]["tail_share"] <= rl["shares"]["generation"] + 1e-12
    assert rl["staleness"]["mean"] <= rl["staleness"]["max"] <= max(staleness, 0) + 1


def broken_parts(t: Tables) -> None:
    t.rows["rl_steps"][1]["train_s"] += 2e-9


def broken_order(t: Tables) -> None:
    t.rows["rl_steps"][1]["start_s"] = 8.5
    t.rows["rl_steps"][1]["wait_s"] = 1.5


def broken_exposure(t: Tables) -> None:
    t.rows["rl_steps"][0]["exposed_reward_s"] = 1.5


def broken_phases(t: Tables) -> None:
    t.rows["rl_phases"][1]["start_s"] = 3.5


def broken_lengths(t: Tables) -> None:
    t.rows["rl_phases"][1]["end_s"] = 6.0


def broken_uses(t: Tables) -> None:
    t.rows["samples"][2]["uses"] = 2


def broken_step(t: Tables) -> None:
    t.rows["samples"][3]["step"] = 2


def broken_staleness(t: Tables) -> None:
    t.rows["samples"][1]["staleness"] = -1.0


def broken_mean(t: Tables) -> None:
    t.rows["samples"][2]["staleness"] = 0.5


def broken_times(t: Tables) -> None:
    t.rows["samples"][0]["scored_s"] = 1.0


def broken_scoring(t: Tables) -> None:
    t.rows["samples"][1]["scored_s"] = 8.5


def broken_line(t: Tables) -> None:
    t.rows["samples"][1]["reward_wait_s"] = 1.5


def broken_books(t: Tables) -> None:
    t.rows["rl_steps"][0]["in_flight"] = 0


def broken_count(t: Tables) -> None:
    t.rows["samples"].pop()


def broken_fate(t: Tables) -> None:
    t.rows["samples"][4]["step"] = 0


@pytest.mark.parametrize(
    ("break_it", "said"),
    [
        (broken_parts, "step 1 of the loop has parts that do not sum"),
        (broken_order, "step 1 of the loop does not begin where the last one ends"),
        (broken_exposure, "step 0 of the loop is exposed for longer"),
        (broken_phases, "the train of the trainer at 3.5 s overlaps"),
        (broken_lengths, "step 0 of the loop has train phases that are not its train_s"),
        (broken_uses, "sample 2 was used more often than in 1 epoch"),
        (broken_step, "sample 3 was trained on in a step that is not there"),
        (broken_staleness, "sample 1 has no staleness, or a negative one"),
        (broken_mean, "step 1 of the loop has another staleness than its samples"),
        (broken_times, "sample 0 is scored before its last token"),
        (broken_scoring, "sample 1 was trained on unscored"),
        (broken_line, "sample 1 stands in line for longer than its reward_s"),
        (broken_books, "step 0 of the loop has lost samples"),
        (broken_count, "6 samples were begun but these were recorded: 4 trained"),
        (broken_fate, "sample 4 was not trained on and names a step"),
    ],
)
def test_books_that_do_not_balance_are_refused(
    break_it: Callable[[Tables], None], said: str, tmp_path: Path
) -> None:
    t = loop()
    break_it(t)
    read = Loop.read(t.write(tmp_path))
    assert read is not None
    with pytest.raises(BrokenInvariant, match=said.replace("(", r"\(")):
        check_loop(read)


@pytest.mark.parametrize(
    ("shares", "begins"),
    [
        ({"wait_s": 4.0, "exposed_generation_s": 3.0, "exposed_reward_s": 1.0}, "Rollouts"),
        ({"wait_s": 4.0, "exposed_generation_s": 0.5, "exposed_reward_s": 3.5}, "Reward"),
        ({"wait_s": 4.0, "exposed_generation_s": 0.0, "exposed_reward_s": 0.0}, "Waiting"),
        ({"wait_s": 0.5, "exposed_generation_s": 0.5, "sync_s": 4.5}, "Weight sync"),
        ({"wait_s": 0.5, "exposed_generation_s": 0.5, "recovery_s": 3.5}, "Faults"),
        ({"wait_s": 0.5, "exposed_generation_s": 0.5, "logprob_s": 3.5}, "Trainer"),
    ],
)
def test_the_bottleneck_is_what_most_of_the_step_goes_into(
    shares: dict[str, float], begins: str, tmp_path: Path
) -> None:
    t, now = loop(), 0.0
    t.rows.pop("rl_phases")
    for step in t.rows["rl_steps"]:
        step |= {"exposed_reward_s": 0.0, "start_s": now} | shares
        now += sum(step[c] for c in ("wait_s", "train_s", "sync_s", "logprob_s", "recovery_s"))
        step["end_s"] = now
    for sample in t.rows["samples"]:
        sample["submitted_s"] = 0.0
        for name in ("generated_s", "scored_s"):
            sample[name] *= 0.0  # at once; what never was stays NaN
    t.rows["rl_steps"][0]["in_flight"] = 3
    rl = measure(t.write(tmp_path))["rl"]
    assert rl["bottleneck"].startswith(begins)


def test_of_two_pools_the_one_that_waits_less_holds_up_the_other(tmp_path: Path) -> None:
    t = loop()
    t.rows["steps"][2] |= {"start_s": 11.0, "linear_s": 3.0}  # idle 10 … 11, in training
    apart = measure(t.write(tmp_path / "apart"))["rl"]
    assert apart["steady"]["shares"]["training"] > apart["steady"]["shares"]["generation"]
    assert apart["bottleneck"].startswith("Rollouts: the trainer waits 33 % of the step")
    t = loop()
    t.rows["steps"].pop()  # idle 10 … 14
    idle = measure(t.write(tmp_path / "idle"))["rl"]
    assert idle["bottleneck"].startswith("Trainer")
    t = loop()
    t.facts["rl"] |= {"colocated": True}
    assert measure(t.write(tmp_path / "taking-turns"))["rl"]["bottleneck"].startswith("Trainer")


def test_waiting_in_the_warm_up_blames_nobody(tmp_path: Path) -> None:
    """The engines are filled in the first step alone; behind it the trainer never waits."""
    t = loop()
    t.rows["rl_steps"][1] |= {"wait_s": 0.0, "exposed_generation_s": 0.0, "train_s": 5.0}
    t.rows["rl_phases"] = [
        p for p in t.rows["rl_phases"] if not (p["actor"] == 2 and p["step"] == 1)
    ]
    t.add("rl_phases", actor="trainer", phase="train", step=1, start_s=8, end_s=13)
    rl = measure(t.write(tmp_path))["rl"]
    assert rl["shares"]["generation"] > 0
    assert rl["steady"]["shares"]["generation"] == 0
    assert rl["bottleneck"].startswith("Trainer: training takes 83 % of the step")


def with_tools(waited_s: float) -> Tables:
    """The loop whose engine is never idle, and samples of step 1 in tools for 6 of 7 seconds."""
    t = loop()
    t.rows["steps"][2] |= {"start_s": 10.0, "linear_s": 4.0}
    t.facts["rl"] |= {"environment": {"name": "tools", "workers": 8}}
    t.rows["samples"][2] |= {"tools_s": 6.0, "tools_wait_s": waited_s}
    return t


def test_tools_are_told_from_the_tokens_that_the_trainer_waits_for(tmp_path: Path) -> None:
    """Sample 2 is the last of step 1, which waits for tokens for 2 of 6 seconds."""
    rl = measure(with_tools(4.5).write(tmp_path / "line"))["rl"]
    assert rl["steady"]["tools_share"] == pytest.approx(2 / 6 * 6 / 7)
    assert rl["lives"]["tools_s"]["mean"] == pytest.approx(6 / 4)
    assert rl["lives"]["tools_wait_s"]["mean"] == pytest.approx(4.5 / 4)
    assert rl["bottleneck"] == (
        "Tools: the trainer waits 29 % of the step for tools; 75 % of its samples' time in tools "
        "is waiting for one of 8 workers (rl.environment.tools.workers)."
    )
    quick = measure(with_tools(0.6).write(tmp_path / "work"))["rl"]
    assert "10 % of its samples' time" in quick["bottleneck"]
    assert "less than quicker ones" in quick["bottleneck"]


def test_idleness_behind_tools_is_not_waiting_for_the_trainer(tmp_path: Path) -> None:
    """The engine stands still for 4 of 6 seconds while its samples are with tools."""
    t = with_tools(6.0)
    t.rows["steps"].pop()
    rl = measure(t.write(tmp_path))["rl"]
    assert rl["steady"]["rollout"]["idle_beside_work"] > rl["steady"]["trainer"]["idle_share"]
    assert rl["bottleneck"].startswith("Tools")


def test_waiting_for_rewards_names_the_workers(tmp_path: Path) -> None:
    t = with_tools(0.0)
    t.rows["samples"][2] |= {"tools_s": 0.0, "generated_s": 8.25, "reward_s": 1.75,
                             "reward_wait_s": 1.4}  # fmt: skip
    t.rows["rl_steps"][1] |= {"exposed_generation_s": 0.25, "exposed_reward_s": 1.75}
    t.facts["rl"] |= {"reward": {"name": "rule", "workers": 2}}
    assert measure(t.write(tmp_path))["rl"]["bottleneck"] == (
        "Reward: the trainer waits 29 % of the step for rewards alone; 80 % of its samples' "
        "scoring time is waiting for one of 2 workers (rl.reward.rule.workers)."
    )


def test_batches_made_ahead_are_made_beside_training(tmp_path: Path) -> None:
    apart = measure(ToyLoop(staleness=2).write(tmp_path / "apart"))["rl"]
    turns = measure(ToyLoop().write(tmp_path / "turns"))["rl"]
    assert not apart["steady"]["takes_turns"]
    assert turns["steady"]["takes_turns"]
