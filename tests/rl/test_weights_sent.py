"""What a weight sync carries, and what it is assumed to cost."""

from __future__ import annotations

from typing import Any

import pytest
from helpers import planned
from helpers.loops import RECIPE, loop_tree

from sim.catalog.counting import total_params
from sim.catalog.model import load_model
from sim.perf.training.sizes import lora_params
from sim.rl.planning import RlPlan

MODEL = load_model("qwen3-8b")
BF16 = 2.0


def loop_with(draft: dict[str, Any] | None = None, **changes: Any) -> RlPlan:
    tree = loop_tree({"asynchronous": {}}, **changes)
    if draft is not None:
        tree["pools"]["rollout"]["speculation"] = {"eagle": {"acceptance": draft}}
    plan = planned(tree).loop
    assert plan is not None
    return plan


def sources(plan: RlPlan) -> dict[str, str]:
    return {row["what"]: row["source"] for row in plan.assumptions()}


@pytest.mark.parametrize("rank", [8, 64])
def test_adapters_are_all_that_travels_where_adapters_are_all_that_is_trained(rank: int) -> None:
    recipe = RECIPE | {"method": "lora", "lora_rank": rank}
    plan = loop_with(trainer={"recipe": recipe})
    two_engines = 2 * BF16 * lora_params(MODEL, rank)
    assert plan.to_engines.nbytes == pytest.approx(two_engines)
    assert plan.to_engines.nbytes < 0.05 * loop_with().to_engines.nbytes
    assert plan.sent is not None
    assert plan.sent.tensors == 2 * 7 * len(MODEL.layers)  # q, k, v, o, gate, up, down
    assert "base weights stay" in sources(plan)["weights sent"]


def test_a_draft_travels_with_the_policy_that_it_is_fitted_to() -> None:
    whole = 2 * BF16 * total_params(MODEL)
    fitted = loop_with({"iid": 0.7})
    assert fitted.to_engines.nbytes > 1.01 * whole
    assert "2604.26779" in sources(fitted)["drafts sent with the weights"]


DRIFT = {"of": {"iid": 0.7}, "per_version": 0.99}


@pytest.mark.parametrize(
    "law",
    [
        {"drift": DRIFT},
        {"relaxed": {"of": {"drift": DRIFT}}},
        {"by_class": {"classes": [{"share": 1, "acceptance": {"drift": DRIFT}}]}},
    ],
)
def test_a_draft_that_is_never_fitted_again_stays_where_it_is(law: dict[str, Any]) -> None:
    plan = loop_with(law)
    assert plan.to_engines.nbytes == pytest.approx(loop_with().to_engines.nbytes)
    assert "drafts sent with the weights" not in sources(plan)
    refitted = loop_with({"drift": DRIFT | {"refit_every": 2}})
    assert refitted.to_engines.nbytes > plan.to_engines.nbytes


def test_figures_of_a_sync_that_nobody_gave_are_listed() -> None:
    found = sources(loop_with())
    assert "assumed" in found["weight_sync.wire_fraction"]
    assert {"weight_sync.reload_s", "weight_sync.per_tensor_s"} <= set(found)
    assert "weight_sync.pcie_fraction" not in found
    given = sources(loop_with(weight_sync={"reload_s": 0.5, "by": "relay", "pull": True}))
    assert "weight_sync.reload_s" not in given
    assert "weight_sync.pcie_fraction" in given
    colocated = planned(loop_tree("synchronous")).loop
    assert colocated is not None
    assert "weight_sync.per_tensor_s" not in sources(colocated)
