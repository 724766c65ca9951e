"""Where drafts lie, what they take, and where they are refused."""

from __future__ import annotations

from typing import Any

import pytest
from helpers import generated, planned, serving

from sim.errors import ScenarioError
from sim.perf.speculation.memory import draft_weight_bytes
from sim.scenario.checking import check, longest_sequence
from sim.scenario.planning import PoolPlan

WORKLOAD = generated(3, 100, 20, "at_once")
LAW = {"iid": 0.75}
EAGLE: dict[str, Any] = {"eagle": {"acceptance": LAW}}


def model_draft(**more: Any) -> dict[str, Any]:
    return {"draft_model": {"model": "llama-3.1-8b", "acceptance": LAW} | more}


def pool_of(speculation: Any, **changes: Any) -> PoolPlan:
    pool = {"speculation": speculation} if speculation else {}
    pool |= changes.pop("pool", {})
    return planned(serving(WORKLOAD, pools={"serve": pool}, **changes)).pools[0]


def test_a_draft_takes_its_weights_and_its_kv_from_the_pool() -> None:
    plain, drafted = pool_of(None), pool_of(EAGLE)
    assert drafted.drafting is not None
    work = drafted.drafting.draft.drafting(drafted.model, drafted.formats)
    own = draft_weight_bytes(work, drafted.spread)
    assert own > 0
    assert drafted.memory.weight_bytes == pytest.approx(plain.memory.weight_bytes + own)
    assert drafted.memory.kv_bytes_per_token == pytest.approx(
        plain.memory.kv_bytes_per_token * 33 / 32
    )
    assert longest_sequence(drafted) <= longest_sequence(plain)


def test_a_draft_with_gpus_of_its_own_is_placed_and_counted() -> None:
    big = {"model": "llama-3.1-70b", "topology": {"name": "dgx_h100", "nodes": 2}}
    layout = {"layout": {"tensor": {"tp": 4}}, "engines": 3}
    plan = planned(
        serving(
            WORKLOAD,
            pools={"serve": layout | {"speculation": model_draft(apart=True)}},
            **big,
        )
    )
    (pool,) = plan.pools
    assert pool.drafting is not None
    taken = [d for devices in (*pool.devices, *pool.drafting.devices) for d in devices]
    assert len(set(taken)) == len(taken) == 15
    assert plan.gpus == 15
    assert pool.memory == pool_of(None, pool=layout, **big).memory
    told = check(plan)["pools"]["serve"]
    assert told["gpus"] == 15
    assert told["speculation"]["gpus_per_engine"] == 1


def test_auto_is_the_quickest_length_up_to_eight() -> None:
    pool = pool_of({"eagle": {"acceptance": LAW, "draft_tokens": "auto"}})
    told = check(planned(serving(WORKLOAD, pools={"serve": {
        "speculation": {"eagle": {"acceptance": LAW, "draft_tokens": "auto"}}}})))  # fmt: skip
    assert pool.drafting is not None
    assert pool.drafting.most.steps == 8
    assert told["pools"]["serve"]["speculation"]["draft_length"] == "quickest"


def test_a_pool_that_computes_prompts_alone_does_not_draft() -> None:
    machine = {"name": "dgx_h100", "nodes": 1}
    pools = {"prefill": {"speculation": EAGLE}, "decode": {}}
    tree = serving(WORKLOAD, pools=pools, topology=machine, deployment="disaggregated")
    with pytest.raises(ScenarioError, match="write it under pools"):
        planned(tree)
    turned = {"prefill": {}, "decode": {"speculation": EAGLE}}
    plan = planned(tree | {"pools": turned})
    assert plan.pools[1].drafting is not None
    assert plan.pools[0].drafting is None


def test_ranks_have_a_draft_to_themselves() -> None:
    ranks = {
        "model": "qwen3-30b-a3b",
        "topology": "dgx_h100",
        "pool": {"layout": {"dp_attention": {"dp": 4}}},
    }
    assert pool_of(model_draft(), **ranks).drafting is not None
    with pytest.raises(ScenarioError, match="4 ranks, each with a draft to itself; leave it out"):
        pool_of(model_draft(apart=True), **ranks)


def test_a_draft_that_is_wider_than_its_stage_is_refused() -> None:
    with pytest.raises(ScenarioError, match="needs 2 GPUs and there are 1"):
        pool_of(
            model_draft(layout={"tensor": {"tp": 2}}),
            topology="dgx_h100",
            pool={"layout": {"tensor": {"pp": 2}}},
        )


@pytest.mark.parametrize(
    ("law", "drafts", "listed"),
    [
        ({"measured": [1.0, 1.9]}, 3, "draft 2 to 3"),
        ({"measured": [1.0, 1.9, 2.6]}, 3, "draft 3"),
        ({"measured": [1.0, 1.9, 2.6]}, 2, None),
        ({"by_position": [0.9, 0.8]}, 2, None),
        ({"by_position": [0.9, 0.8]}, 5, "draft 3 to 5"),
        ({"by_position": [0.9, 0.8]}, "auto", "draft 3 to 8"),
        ({"relaxed": {"of": {"by_position": [0.7]}}}, 2, "draft 2"),
        (LAW, 6, None),
    ],
)
def test_a_law_given_for_too_few_drafts_is_listed(
    law: dict[str, Any], drafts: int | str, listed: str | None
) -> None:
    eagle = {"eagle": {"acceptance": law, "draft_tokens": drafts}}
    plan = planned(serving(WORKLOAD, pools={"serve": {"speculation": eagle}}))
    beyond = [r["value"] for r in plan.assumptions() if r["source"].startswith("extrapolated: ")]
    assert [v for v in beyond if v.startswith("draft ")] == ([listed] if listed else [])


@pytest.mark.parametrize(
    ("law", "says"),
    [
        (0.75, r"this number is \{iid: 0.75\}"),
        ({"by_position": []}, "is empty; it must be a list with at least 1 entry"),
        ({"measured": [1.0]}, "a list with at least 2 entries"),
    ],
)
def test_a_law_that_is_written_wrongly_is_shown_as_it_should_be(law: Any, says: str) -> None:
    with pytest.raises(ScenarioError, match=says):
        pool_of({"eagle": {"acceptance": law}})
