"""Every model of the catalog has a price from every timer that needs no files, and its sources."""

from __future__ import annotations

from math import isfinite

import pytest
from helpers import generated, planned, serving

from sim.catalog.model import model_names
from sim.errors import ScenarioError
from sim.perf.shape import StepShape, pairs
from sim.scenario.pools import PoolPlan

TP = (8, 4, 2, 1)
PROMPT = 500


def pool_of(model: str, timer: str, **precision: str) -> PoolPlan:
    """On as many GB200 of a rack as divide it."""
    for tp in TP:
        pool = {
            "layout": {"tensor": {"tp": tp}},
            "timer": timer,
            "precision": precision,
            "engine": {"max_num_batched_tokens": 1024, "max_num_seqs": 64},
        }
        tree = serving(generated(1, 1, 1, "at_once"), model=model, topology="gb200_nvl72",
                       pools={"serve": pool})  # fmt: skip
        try:
            return planned(tree).pools[0]
        except ScenarioError as refused:
            if "divide" not in str(refused):
                raise
    raise AssertionError(model)


def step_s(pool: PoolPlan) -> float:
    """Seconds of a prompt beside eight decodes."""
    timer = pool.settings.timer.compile(pool.tasks[0])
    s = StepShape(decodes=8, context_tokens=8 * 700, sampled=9, prefills=1, prefill_tokens=PROMPT)
    s.prefill_pairs, s.prefill_kv_tokens = pairs(0, PROMPT), PROMPT
    for i, cap in enumerate(timer.caps):
        s.capped_tokens[i], s.capped_pairs[i] = 8 * min(700, cap), pairs(0, min(PROMPT, cap))
    return timer.price([s])


@pytest.mark.parametrize("model", model_names())
def test_a_model_has_a_price_and_its_sources(model: str) -> None:
    prices = []
    for timer in ("calibrated", "roofline"):
        pool = pool_of(model, timer)
        prices.append(step_s(pool))
        rows = pool.settings.timer.assumptions(pool.tasks[0])
        assert rows
        assert all(row["source"] for row in rows)
    assert all(isfinite(p) and p > 0 for p in prices)
    assert 1 / 4 < prices[0] / prices[1] < 8, "kernels against their bounds"


@pytest.mark.parametrize("model", ["qwen3-30b-a3b", "qwen3-235b-a22b", "mixtral-8x7b"])
def test_narrower_experts_are_not_slower_with_many_tokens(model: str) -> None:
    wide, narrow = (pool_of(model, "calibrated", weights=w, experts=w) for w in ("bf16", "fp8"))
    tables = [p.settings.timer.compile(p.tasks[0]).tables[0].experts for p in (wide, narrow)]
    assert tables[1][1024] < 1.05 * tables[0][1024]


@pytest.mark.parametrize("timer", ["calibrated", "roofline"])
@pytest.mark.parametrize("weights", ["int8_g128", "nf4", "qmoe"])
def test_stored_formats_pay_for_widening_and_activations_count(timer: str, weights: str) -> None:
    """With 16-bit activations, weights that only store fewer bits never beat units for them in a
    long pass, whatever the timer."""
    stored = pool_of("llama-3.1-8b", timer, weights=weights, activations="bf16")
    own = pool_of("llama-3.1-8b", timer, weights="fp8")
    wide = pool_of("llama-3.1-8b", timer, weights="fp8", activations="bf16")
    linear = {
        name: p.settings.timer.compile(p.tasks[0]).tables[0].linear[1024]
        for name, p in (("stored", stored), ("own", own), ("wide", wide))
    }
    assert linear["own"] < linear["wide"]
    assert linear["own"] < linear["stored"]
