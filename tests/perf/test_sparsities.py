"""What a decode step reads and a pool keeps when keys are left out."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from helpers import generated, planned, serving

from sim import plugins
from sim.errors import ScenarioError
from sim.perf.rocketkv import RocketKv
from sim.perf.shape import StepShape, pairs
from sim.scenario.pools import PoolPlan

IDEAL = {"roofline": {"launch_s": 0, "host_s": 0, "tensor": 1.0, "hbm": 1.0,
                      "attention_tensor": 1.0, "attention_hbm": 1.0}}  # fmt: skip
ROCKET = {"rocket_kv": {"budget_tokens": 256, "prompt_tokens": 16_384}}
BLOCKS = {"block_sparse": {"budget_tokens": 2048, "block_tokens": 16}}
SETTINGS: dict[str, Any] = {"none": "none", "rocket_kv": ROCKET, "block_sparse": BLOCKS}


def pool_of(sparsity: Any, model: str = "llama-3.1-8b", timer: Any = None) -> PoolPlan:
    engine = {"max_num_batched_tokens": 8192, "max_num_seqs": 64}
    pool = {"timer": timer or IDEAL, "engine": engine}
    topology = "single_gpu" if model == "llama-3.1-8b" else "hgx_h200"
    tree = serving(generated(1, 1, 1, "at_once"), model=model, topology=topology,
                   sparsity=sparsity, pools={"serve": pool})  # fmt: skip
    return planned(tree).pools[0]


def attention_s(pool: PoolPlan, context: int = 0, prompt: int = 0, n: int = 1) -> float:
    """Seconds of attention in a step of decodes with this context, or of a prompt."""
    timer = pool.settings.timer.compile(pool.tasks[0])
    s = StepShape(decodes=n if context else 0, context_tokens=n * context, sampled=1)
    for i, cap in enumerate(timer.caps):
        s.capped_tokens[i] = n * min(context, cap)
    if prompt:
        s.prefills, s.prefill_tokens = 1, prompt
        s.prefill_pairs, s.prefill_kv_tokens = pairs(0, prompt), prompt
    return timer.tables[0].attention_s(s)


@pytest.mark.parametrize("context", [16_384, 65_536])
def test_rocketkv_reads_one_part_in_c_of_the_cache(context: int) -> None:
    """Traffic over full = 1/c = t/S, to the query's own few bytes (RK-2)."""
    own = attention_s(pool_of("none"), 1)
    full = attention_s(pool_of("none"), context) - own
    part = attention_s(pool_of(ROCKET), context) - own
    assert part / full == pytest.approx(256 / context, rel=0.01)


def test_both_variants_of_rocketkv_take_the_same_step_and_keep_different_shares() -> None:
    """RK-7: the multi-turn variant saves no storage."""
    once = pool_of(ROCKET)
    turns = pool_of({"rocket_kv": ROCKET["rocket_kv"] | {"multi_turn": True}})
    assert attention_s(once, 50_000) == attention_s(turns, 50_000)
    whole = pool_of("none").memory.kv_bytes_per_token
    made = RocketKv(16_384, 256)
    assert once.memory.kv_bytes_per_token == pytest.approx(whole * made.storage, rel=1e-3)
    assert turns.memory.kv_bytes_per_token > whole


def test_blocks_are_scanned_by_their_summaries_and_read_within_the_budget() -> None:
    """Beyond the budget every token costs 2 summaries in 16 tokens, of keys alone: 1/16."""
    sparse, full = pool_of(BLOCKS), pool_of("none")
    slope, whole = (
        (attention_s(p, 60_000) - attention_s(p, 30_000)) / 30_000 for p in (sparse, full)
    )
    assert slope / whole == pytest.approx(1 / 16, rel=1e-6)
    short = attention_s(sparse, 1000) / attention_s(full, 1000)
    assert short == pytest.approx(1 + 1 / 16, rel=0.01)


@pytest.mark.parametrize("name", plugins.names("sim.perf.sparsities"))
@pytest.mark.parametrize("timer", [IDEAL, "calibrated"], ids=["ideal", "calibrated"])
def test_prompts_see_every_key(name: str, timer: Any) -> None:
    sparse, full = pool_of(SETTINGS[name], timer=timer), pool_of("none", timer=timer)
    assert attention_s(sparse, prompt=8000) == pytest.approx(attention_s(full, prompt=8000))


@pytest.mark.parametrize("name", ["rocket_kv", "block_sparse"])
def test_the_gain_grows_with_the_context(name: str) -> None:
    """RK-6, with measured kernels."""
    sparse, full = (pool_of(s, timer="calibrated") for s in (SETTINGS[name], "none"))
    gains = [
        attention_s(full, s, n=8) / attention_s(sparse, s, n=8) for s in (4096, 16_384, 98_304)
    ]
    assert gains == sorted(gains)
    assert np.diff(gains).min() > 0
    assert gains[-1] > 2


def test_a_model_without_full_grouped_attention_is_refused() -> None:
    with pytest.raises(ScenarioError, match="deepseek-v3 has none; write none"):
        pool_of(BLOCKS, model="deepseek-v3")


@pytest.mark.parametrize(
    ("setting", "says"),
    [
        ({"rocket_kv": {"budget_tokens": 512, "prompt_tokens": 256}}, "below the 256 tokens"),
        ({"block_sparse": {"budget_tokens": 8}}, "less than one block"),
    ],
)
def test_a_budget_that_cannot_be_says_why(setting: Any, says: str) -> None:
    with pytest.raises(ScenarioError, match=says):
        pool_of(setting)
