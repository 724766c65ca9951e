"""What every cadence owes: nobody lost, nobody trained on twice, every second accounted for."""

from __future__ import annotations

from typing import Any

import pytest
from helpers import Run
from helpers.loops import fates, loop_laws, play_loop, same_tables
from hypothesis import given, settings
from hypothesis import strategies as st

from sim import plugins

NAMES = plugins.names("sim.rl.cadences")
PULLED = {"weight_sync": {"by": "relay", "pull": True}}
SETTINGS: dict[str, list[dict[str, Any]]] = {
    "asynchronous": [{"staleness": 2}, {"staleness": 1, "update": "interrupt"}],
    "over_sampling": [{"factor": 1.5}],
    "partial_rollout": [{"factor": 1.5}, {"factor": 3.0, "kv": "keep"}],
    "repacking": [
        {"every_s": 0.2},
        {"every_s": 0.1, "kv": "send"},
        {"every_s": 0.05, "full": 1.0, "staleness": 1},
    ],
    "tail_packing": [{}, {"prompts_factor": 2.0, "samples_factor": 1.0}],
}
TOOLS = {
    "environment": {
        "tools": {
            "turns": {"uniform": {"min_tokens": 1, "max_tokens": 3}},
            "answer_tokens": {"constant": {"tokens": 20}},
            "seconds": {"mean_s": 0.2, "cv": 1.0},
        }
    }
}
BOX = {
    "reward": {
        "sandbox": {
            "seconds": {"mean_s": 0.2, "cv": 1.0},
            "workers": 4,
            "timeout": 1.0,
            "hangs": 0.1,
            "on_timeout": "drop",
        }
    }
}
AROUND: list[dict[str, Any]] = [{}, TOOLS, BOX, {"filter": "dynamic"}]
cadences = st.sampled_from([{name: given} for name in NAMES for given in SETTINGS.get(name, [{}])])


def once(cadence: dict[str, Any], *, leap: bool = True, seqs: int = 8, **changes: Any) -> Run:
    engine = {"max_num_seqs": seqs, "max_num_batched_tokens": 64, "gpu_memory_utilization": 0.6}
    pool = {"engines": 3, "timer": {"constant": {"step_s": 0.01}}, "engine": engine}
    top = {"leap": leap, "pools": {"rollout": pool}, "seed": changes.pop("seed", 0)}
    pulled = PULLED if "repacking" in cadence else {}
    return play_loop(cadence, top=top, **pulled, **changes)


@given(
    cadence=cadences,
    around=st.sampled_from(AROUND),
    per_prompt=st.integers(1, 4),
    seqs=st.sampled_from([2, 8, 40]),
    seed=st.integers(0, 20),
)
@settings(max_examples=35)
def test_no_sample_is_lost_and_each_is_trained_on_in_one_step_or_none(
    cadence: dict[str, Any], around: dict[str, Any], per_prompt: int, seqs: int, seed: int
) -> None:
    run = once(cadence, seqs=seqs, seed=seed, samples_per_prompt=max(2, per_prompt), **around)
    loop_laws(run)
    steps, samples = run.table("rl_steps"), run.table("samples")
    assert len(steps) == 4
    assert (steps["prompts"] == 6).all()
    trained = samples[samples["state"] == "trained"]
    assert (trained["uses"] == 1).all()
    assert (trained["response_tokens"] > 0).all()
    mine = trained.groupby("prompt")["step"].nunique()
    assert (mine == 1).all()
    if "hangs" not in str(around):
        assert len(trained) == 4 * 6 * max(2, per_prompt)


@given(cadence=cadences, around=st.sampled_from(AROUND), seed=st.integers(0, 20))
@settings(max_examples=18)
def test_leaping_changes_no_loop(
    cadence: dict[str, Any], around: dict[str, Any], seed: int
) -> None:
    runs = [once(cadence, leap=leap, seed=seed, **around) for leap in (True, False)]
    same_tables(*runs)


@pytest.mark.parametrize("name", NAMES)
def test_the_same_loop_gives_the_same_tables(name: str) -> None:
    same_tables(once({name: {}}, **TOOLS), once({name: {}}, **TOOLS))


@pytest.mark.parametrize("name", NAMES)
def test_every_request_of_a_sample_ends_and_every_kv_block_comes_back(name: str) -> None:
    run = once({name: {}}, **TOOLS)
    found = fates(run)
    states = run.requests["state"].value_counts().to_dict()
    assert set(states) <= {"finished", "cancelled", "unfinished"}
    assert states.get("cancelled", 0) <= found["aborted"]
    for engine in run.engines:
        assert not engine.departures.awaited or found["in_flight"]
        for rank in engine.ranks:
            if not found["in_flight"]:
                assert rank.cache.used == 0
