"""Who scores, and how long that takes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from helpers import planned
from helpers.loops import fates, loop_laws, loop_tree, play_loop
from hypothesis import given, settings
from hypothesis import strategies as st

from sim.clock import Clock
from sim.errors import ScenarioError
from sim.rl.durations import Durations
from sim.rl.rewards import RewardServices
from sim.rl.rewards._timeouts import Adaptive
from sim.rl.rewards.sandbox import Sandbox
from sim.rl.samples import Group, Sample
from sim.rl.workers import Workers
from sim.rng import Draws


def sample(place: int, prompt: int = 0, group: Group | None = None) -> Sample:
    return Sample(place, group or Group(prompt, 0.0, 0), place, 10, 10, 0.0)


@given(cv=st.floats(0.1, 2.0), mean=st.floats(0.01, 100.0))
@settings(max_examples=20)
def test_durations_have_the_mean_and_spread_that_were_asked_for(cv: float, mean: float) -> None:
    law = Durations(mean_s=mean, cv=cv)
    drawn = law.drawn(Draws(0, "t"))
    n = 4000
    found = np.array([drawn.of(sample(i % 16, i // 16)) for i in range(n)])
    assert np.log(found).std() == pytest.approx(np.sqrt(np.log1p(cv**2)), rel=0.06)
    error = 5 * cv * mean / np.sqrt(n) * (1 + cv)
    assert abs(found.mean() - mean) < error


def test_a_sample_takes_as_long_whoever_asks_first() -> None:
    law = Durations(mean_s=1.0, cv=1.0)
    one, other = law.drawn(Draws(0, "t")), law.drawn(Draws(0, "t"))
    numbers = [(p, i) for p in range(150) for i in (0, 40)]
    forth = [one.of(sample(i, p)) for p, i in numbers]
    back = [other.of(sample(i, p)) for p, i in reversed(numbers)]
    assert forth == back[::-1]
    assert len(set(forth)) == len(forth)


@given(
    seconds=st.lists(st.floats(0.0, 5.0), min_size=1, max_size=12),
    count=st.one_of(st.none(), st.integers(1, 4)),
)
def test_workers_take_jobs_in_order_and_never_more_than_there_are(
    seconds: list[float], count: int | None
) -> None:
    clock, begun, ended = Clock(), list[int](), list[tuple[float, int]]()
    workers = Workers(clock, count)

    def job(i: int) -> None:
        def begin() -> float:
            begun.append(i)
            assert count is None or workers.busy <= count
            return seconds[i]

        workers.do(begin, lambda waited_s: ended.append((clock.now, i)))

    for i in range(len(seconds)):
        job(i)
    clock.run()
    assert begun == list(range(len(seconds)))
    assert sorted(i for _, i in ended) == begun
    last = max(time for time, _ in ended)
    work = sum(seconds) / (count or len(seconds))
    assert last >= max(*seconds, work) - 1e-9
    assert last <= work + max(seconds) + 1e-9


def scored(sandbox: Sandbox, samples: list[Sample]) -> dict[int, tuple[float, bool]]:
    """(when, kept) of every sample."""
    clock = Clock()
    running = sandbox.start(RewardServices(clock, Draws(0, "t")))
    out: dict[int, tuple[float, bool]] = {}
    for one in samples:
        running.score(one, lambda s, kept: out.update({s.number: (float(clock.now), kept)}))
    clock.run()
    return out


def test_a_reward_that_never_comes_is_ended_by_the_time_out() -> None:
    for end, kept in (("zero", True), ("drop", False)):
        box = Sandbox(seconds=Durations(mean_s=1.0), hangs=1.0, timeout=7.0, on_timeout=end)
        assert scored(box, [sample(0)]) == {0: (7.0, kept)}


def test_an_adaptive_time_out_knows_what_the_same_prompt_took() -> None:
    """One after the other: the first of a prompt may take 30 s; after one of 4 s the next may take
    6 s; after one of 0.1 s, 2 s. Another prompt starts anew."""
    known = Adaptive()
    assert known.after(None) == 30.0
    assert (known.after(4.0), known.after(0.1), known.after(100.0)) == (6.0, 2.0, 30.0)
    group = Group(0, 0.0, 0)
    box = Sandbox(seconds=Durations(mean_s=4.0), workers=1, timeout=known, hangs=0.5)
    ends = scored(box, [sample(i, group=group) for i in range(40)])
    times = np.diff([0.0, *sorted(t for t, _ in ends.values())])
    first_normal = int(np.flatnonzero(np.isclose(times, 4.0))[0])
    assert np.allclose(times[:first_normal], 30.0)
    after = times[first_normal:]
    assert np.all(np.isclose(after, 4.0) | np.isclose(after, 6.0))
    assert np.isclose(after, 6.0).any()


def test_the_share_that_hangs_is_the_share_that_was_asked_for() -> None:
    box = Sandbox(
        seconds=Durations(mean_s=1.0), workers=10_000, timeout=5.0, hangs=0.3, on_timeout="drop"
    )
    ends = scored(box, [Sample(i, Group(i // 20, 0.0, 0), i % 20, 1, 1, 0.0) for i in range(2000)])
    lost = sum(not kept for _, kept in ends.values())
    assert abs(lost - 600) < 5 * np.sqrt(2000 * 0.3 * 0.7)


@pytest.mark.parametrize(
    ("reward", "says"),
    [
        ({"seconds": 1, "hangs": 0.1}, "without timeout"),
        ({"seconds": 1, "on_timeout": "drop"}, "no effect without timeout"),
        ({"seconds": 1, "timeout": {"low_s": 9, "high_s": 3}}, "swap"),
    ],
)
def test_scoring_without_an_end_is_refused(reward: dict[str, Any], says: str) -> None:
    with pytest.raises(ScenarioError, match=says):
        planned(loop_tree(reward={"sandbox": reward}))


def test_samples_whose_score_timed_out_are_given_up_and_the_rest_trained_on() -> None:
    box = {"seconds": {"mean_s": 0.1, "cv": 0.5}, "timeout": 3, "hangs": 0.3, "on_timeout": "drop"}
    run = play_loop("synchronous", reward={"sandbox": box})
    loop_laws(run)
    found = fates(run)
    assert found["aborted"] > 0
    assert found["aborted"] + found["trained"] + found["filtered"] == len(run.table("samples"))
    zero = play_loop("synchronous", reward={"sandbox": box | {"on_timeout": "zero"}})
    assert fates(zero)["trained"] == 4 * 6 * 3
    assert (zero.table("rl_steps")["exposed_reward_s"] > 0).any()


def test_a_rule_on_few_workers_makes_the_trainer_wait() -> None:
    few = play_loop("synchronous", reward={"rule": {"seconds": "500 ms", "workers": 1}})
    many = play_loop("synchronous", reward={"rule": {"seconds": "500 ms", "workers": 64}})
    for run in (few, many):
        loop_laws(run)
    wait = [r.table("rl_steps")["exposed_reward_s"].sum() for r in (few, many)]
    assert wait[0] > wait[1] >= 4 * 0.5 - 1e-9
    assert wait[0] <= 4 * 18 * 0.5


SCORER = {
    "model": "qwen3-8b",
    "max_num_batched_tokens": 256,
    "timer": {"constant": {"step_s": 0.1}},
}


def test_a_reward_model_reads_every_sample_once_on_gpus_of_its_own() -> None:
    """Passes of 0.1 s and 256 tokens: no quicker than the tokens, no slower than one by one."""
    run = play_loop("synchronous", reward={"model": SCORER | {"engines": 1}})
    loop_laws(run)
    samples, steps = run.table("samples"), run.table("rl_steps")
    assert run.plan.gpus == 2 + 1
    assert run.plan.loop is not None
    assert run.plan.loop.scorers is not None
    mine = {d for e in run.plan.loop.scorers.devices for d in e}
    assert not mine & set(run.plan.loop.devices)
    for number, row in steps.iterrows():
        tokens = row["prompt_tokens"] + row["response_tokens"]
        ready = samples[samples["step"] == number]["scored_s"].max()
        begun = samples[samples["step"] == number]["generated_s"].min()
        assert ready - begun >= 0.1 * np.ceil(tokens / 256) - 1e-9
    assert (samples["reward_s"] >= 0.1 - 1e-9).all()


def test_a_judge_writes_its_tokens_one_pass_each() -> None:
    judge = SCORER | {"output_tokens": {"constant": {"tokens": 12}}, "max_num_seqs": 64}
    run = play_loop("synchronous", reward={"model": judge})
    loop_laws(run)
    assert (run.table("samples")["reward_s"] >= 12 * 0.1 - 1e-9).all()


def test_of_scoring_the_time_in_line_is_told_apart() -> None:
    """A rule takes as long whoever waits for it; a model's passes are not waiting."""
    for workers in (1, None):
        limit = {} if workers is None else {"workers": workers}
        run = play_loop("synchronous", reward={"rule": {"seconds": 0.1, **limit}})
        loop_laws(run)
        samples = run.table("samples")
        worked = samples["reward_s"] - samples["reward_wait_s"]
        assert worked.to_numpy() == pytest.approx(0.1)
        assert (samples["reward_wait_s"] > 0.05).any() == (workers == 1)
    model = play_loop("synchronous", reward={"model": SCORER}).table("samples")
    assert (model["reward_s"] - model["reward_wait_s"] >= 0.1 - 1e-9).all()
    assert (model["reward_wait_s"] >= 0).all()


def test_more_scorers_take_less_time() -> None:
    runs = [play_loop("synchronous", reward={"model": SCORER | {"engines": n}}) for n in (1, 4)]
    waits = [r.table("samples")["reward_s"].sum() for r in runs]
    assert waits[1] < waits[0]


@pytest.mark.parametrize(
    ("beside", "fits"),
    [
        ({"instruction_tokens": 30_000}, True),
        ({"instruction_tokens": 1_000_000}, False),
        ({"instruction_tokens": 30_000, "output_tokens": {"constant": {"tokens": 2000}}}, True),
        ({"instruction_tokens": 30_000, "output_tokens": {"constant": {"tokens": 200_000}}}, False),
    ],
)
def test_a_scorer_holds_instructions_sample_and_judgement(
    beside: dict[str, Any], fits: bool
) -> None:
    tree = loop_tree(reward={"model": SCORER | {"model": "qwen3-8b"} | beside})
    if fits:
        planned(tree)
        return
    with pytest.raises(ScenarioError, match=r"of instructions and judgement, and a scorer reads"):
        planned(tree)


@pytest.mark.parametrize(
    ("scorer", "says"),
    [
        ({"engines": 8}, "topology.nodes higher"),
        ({"layout": {"tensor": {"pp": 2}}}, "without pp"),
        ({"model": "deepseek-v3"}, "does not fit"),
    ],
)
def test_a_scoring_model_that_has_no_room_is_refused(scorer: dict[str, Any], says: str) -> None:
    with pytest.raises(ScenarioError, match=says):
        planned(loop_tree(reward={"model": SCORER | scorer}))
