"""What every deployment, layout, timer and kind of attention owes."""

from __future__ import annotations

from typing import Any

import pytest
from helpers import Ask, planned, play_asks, serving, steady
from helpers.laws import all_holds
from pydantic import TypeAdapter

from sim import plugins
from sim.catalog.attention import BudgetedAttention
from sim.catalog.counting import index_bytes_per_token
from sim.catalog.model import (
    GatedDeltaAttention,
    GroupedAttention,
    LatentAttention,
    NoAttention,
    SparseLatentAttention,
    StateSpaceAttention,
    load_model,
)
from sim.errors import ScenarioError

deployments = pytest.mark.parametrize("name", plugins.names("sim.cluster.deployments"))
layouts = pytest.mark.parametrize("name", plugins.names("sim.perf.layouts"))
OWN_TABLES = {"measured"}
"""Timers that need files, and refuse models and layouts that these do not hold: tests/perf."""
timers = pytest.mark.parametrize(
    "name", [n for n in plugins.names("sim.perf.timers") if n not in OWN_TABLES]
)
attentions = pytest.mark.parametrize("name", plugins.names("sim.perf.attentions"))

NEEDED: dict[str, dict[str, Any]] = {
    "dp_attention": {"dp": 4},
    "helix": {"kvp": 2, "tpa": 2},
    "kv_parallel": {"kvp": 2, "tp": 2},
    "context_parallel": {"cp": 2, "tp": 2},
    "attention_ffn_split": {"attention": {"dp": 2}, "ffn": {"tp": 2}},
    "constant": {"step_s": 0.01},
}
"""Settings without a default, and of layouts that do nothing by default."""

GROUPED = GroupedAttention(q_heads=32, kv_heads=8, head_dim=128)
LATENT = LatentAttention(
    q_heads=128, q_lora=1536, kv_lora=512, nope_dim=128, rope_dim=64, v_dim=128
)
KINDS = {
    "grouped": GROUPED,
    "latent": LATENT,
    "sparse_latent": SparseLatentAttention(LATENT, index_heads=64, index_dim=128, index_topk=2048),
    "state_space": StateSpaceAttention(heads=128, head_dim=64, state=128, groups=8, conv=4),
    "gated_delta": GatedDeltaAttention(key_heads=16, value_heads=32, key_dim=128, value_dim=128,
                                       conv=4),
    "no": NoAttention(),
    "budgeted": BudgetedAttention(32, 8, 128, budget_tokens=256, scan_fraction=0.0625),
}  # fmt: skip
UNDIVIDED = 2
"""Works of sparse attention that every device does whole: the indexer and the selection."""


def setting(name: str) -> Any:
    return {name: NEEDED[name]} if name in NEEDED else name


@deployments
def test_a_deployment_serves_everybody_with_the_pools_that_it_asks_for(name: str) -> None:
    settings = plugins.load("sim.cluster.deployments", name)()
    pools = settings.pools() or ("any",)
    asks = [Ask(0.02 * i, 5 + i, 1 + i % 5) for i in range(20)]
    played = play_asks(
        asks,
        topology={"name": "single_gpu", "nodes": 4},
        pools={p: {"timer": steady(0.01)} for p in pools},
        deployment=name,
    )
    all_holds(played, len(asks))
    assert (played.requests["state"] == "finished").all()


@deployments
def test_a_request_longer_than_the_context_is_rejected_with_the_reason(name: str) -> None:
    settings = plugins.load("sim.cluster.deployments", name)()
    pools = settings.pools() or ("any",)
    played = play_asks(
        [Ask(0.0, 90, 11), Ask(0.0, 90, 10), Ask(0.0, 101, 1)],
        topology={"name": "single_gpu", "nodes": 4},
        pools={p: {"timer": steady(0.01), "engine": {"max_model_len": 100}} for p in pools},
        deployment=name,
    )
    assert played.requests["state"].tolist() == ["rejected", "finished", "rejected"]
    assert played.requests["reason"].tolist() == ["context", "", "context"]


@deployments
def test_a_request_larger_than_the_pool_is_rejected_with_the_reason(name: str) -> None:
    settings = plugins.load("sim.cluster.deployments", name)()
    pools = settings.pools() or ("any",)
    played = play_asks(
        [Ask(0.0, 32, 17), Ask(0.0, 32, 16)],
        topology={"name": "single_gpu", "nodes": 4},
        units=3,
        pools={p: {"timer": steady(0.01)} for p in pools},
        deployment=name,
    )
    assert played.requests["state"].tolist() == ["rejected", "finished"]
    assert played.requests["reason"].tolist() == ["kv_pool", ""]


@layouts
@pytest.mark.parametrize("model", ["llama-3.1-8b", "qwen3-30b-a3b", "gpt-oss-120b", "deepseek-v3"])
def test_a_layout_divides_a_model_or_refuses_it(name: str, model: str) -> None:
    """Every device belongs to one rank of one stage, or does feed-forward layers alone; every layer
    belongs to one stage. A refusal names what would divide."""
    layout = TypeAdapter(plugins.load("sim.perf.layouts", name)).validate_python(
        NEEDED.get(name, {})
    )
    known = load_model(model)
    try:
        spread = layout.plan(known)
    except ScenarioError:
        with pytest.raises(ScenarioError, match=r"^layout.*\b(try|write|use|leave)\b"):
            layout.plan(known)
        return
    held = [
        d for s in range(spread.stages) for r in range(spread.ranks)
        for d in spread.rank_devices(s, r)
    ]  # fmt: skip
    assert sorted([*held, *spread.ffn_positions()]) == list(range(spread.devices))
    assert sum(len(x) for x in spread.stage_layers(known)) == len(known.layers)
    assert spread.text


@timers
@pytest.mark.parametrize("layout", plugins.names("sim.perf.layouts"))
def test_a_timer_prices_every_layout_and_says_what_it_assumes(name: str, layout: str) -> None:
    tree = serving(
        {"path": "traces/sample_azure.csv"},
        model="qwen3-30b-a3b",
        topology="dgx_h100",
        pools={"serve": {"layout": setting(layout), "timer": setting(name)}},
    )
    (pool,) = planned(tree).pools
    made = pool.settings.timer.compile(pool.tasks[0])
    assert made.stages == pool.spread.stages
    assert made.caps == pool.tasks[0].caps()
    rows = pool.settings.timer.assumptions(pool.tasks[0])
    assert rows
    assert all(set(row) == {"what", "value", "source"} and row["source"] for row in rows)


def kept(cost: Any, name: str, tp: int, kv_bytes: float) -> float:
    """Bytes per token on one of `tp` devices."""
    return sum(k.bytes_per_token for k in cost.kept(KINDS[name], tp, kv_bytes))


@pytest.mark.parametrize("tp", [1, 2, 4, 8])
@pytest.mark.parametrize("name", ["state_space", "gated_delta"])
def test_a_state_is_divided_and_does_not_grow(name: str, tp: int) -> None:
    cost = plugins.load("sim.perf.attentions", name)()
    (whole,), (part,) = (cost.kept(KINDS[name], n, 2.0) for n in (1, tp))
    assert part.bytes_per_sequence == whole.bytes_per_sequence / tp > 0
    assert part.bytes_per_token == 0


@attentions
@pytest.mark.parametrize("tp", [1, 2, 4, 8])
def test_work_divides_over_devices_and_never_vanishes(name: str, tp: int) -> None:
    cost = plugins.load("sim.perf.attentions", name)()
    assert kept(cost, name, tp, 2.0) * tp >= kept(cost, name, 1, 2.0)
    works = zip(*(cost.work(KINDS[name], n, 2.0) for n in (1, tp)), strict=True)
    for i, (whole, part) in enumerate(works):
        by = 1 if name == "sparse_latent" and i < UNDIVIDED else tp
        assert part.flops_per_context == pytest.approx(whole.flops_per_context / by)
        assert part.flops_per_pair == pytest.approx(whole.flops_per_pair / by)
        assert part.flops_per_token == pytest.approx(whole.flops_per_token / by)
        assert whole.bytes_per_context / by <= part.bytes_per_context <= whole.bytes_per_context
        assert part.cap_tokens == whole.cap_tokens


@attentions
@pytest.mark.parametrize("tp", [1, 2, 4, 8])
def test_matrices_of_all_devices_hold_at_least_the_whole(name: str, tp: int) -> None:
    cost = plugins.load("sim.perf.attentions", name)()
    whole, part = (
        sum(i * o for i, o in cost.matrices(KINDS[name], 4096, n).values()) for n in (1, tp)
    )
    assert whole <= tp * part <= tp * whole


@pytest.mark.parametrize("name", [n for n in KINDS if n != "no"])
def test_halving_the_cache_format_halves_its_bytes(name: str) -> None:
    cost = plugins.load("sim.perf.attentions", name)()
    *_, two = cost.work(KINDS[name], 1, 2.0)
    *_, one = cost.work(KINDS[name], 1, 1.0)
    fixed = index_bytes_per_token(KINDS[name])
    assert kept(cost, name, 1, 1.0) - fixed == (kept(cost, name, 1, 2.0) - fixed) / 2
    assert one.bytes_per_context == two.bytes_per_context / 2
    assert one.flops_per_pair == two.flops_per_pair


def test_every_kind_of_attention_has_a_case_here() -> None:
    assert set(plugins.names("sim.perf.attentions")) == set(KINDS)
