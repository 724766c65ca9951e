"""Estimates with speculation."""

from __future__ import annotations

import json
from dataclasses import replace
from math import ceil
from typing import Any

import pytest
from typer.testing import CliRunner

from sim.errors import ScenarioError
from sim.perf.speculation.acceptance import iid_length
from sim.search.answer import Estimate
from sim.search.estimate import estimate
from sim.search.point import Point, Split

STEP_S = 0.010
FREE = {"ngram": {"draft_tokens": 3, "acceptance": {"iid": 0.8}, "step_s": 0, "sequence_s": 0}}
"""Drafts that cost nothing."""
EAGLE = {"eagle": {"draft_tokens": 3, "acceptance": {"iid": 0.75}}}
POINT = Point("llama-3.1-8b", "h100", 500, 201, 8)
CONSTANT = replace(POINT, timer={"constant": {"step_s": STEP_S}})


def with_draft(point: Point, draft: Any) -> Estimate:
    return estimate(replace(point, speculation=draft))


def test_free_drafts_divide_the_time_of_a_token_by_the_tokens_of_a_step() -> None:
    """Every step takes the same time, whatever it verifies: 200 tokens take ⌈200 / τ⌉ steps."""
    tau = iid_length(0.8, 3)
    found = with_draft(replace(CONSTANT, concurrency=1), FREE)
    assert found.speculation is not None
    assert found.speculation.acceptance_length == pytest.approx(tau)
    assert found.speculation.speedup_over_plain == pytest.approx(tau)
    assert found.tpot_s == pytest.approx(STEP_S * ceil(200 / tau) / 200)
    assert found.requests_per_s == pytest.approx(1 / (found.ttft_s + 200 * found.tpot_s))


def test_nobody_drafts_and_nothing_changes() -> None:
    plain, none = estimate(POINT), with_draft(POINT, "none")
    assert plain.speculation is None
    assert none.speculation is not None
    assert none.rates() == plain.rates()
    shown = none.plain()["speculation"]
    assert (shown["draft_length"], shown["acceptance_length"]) == (0, 1.0)
    assert shown["speedup_over_plain"] == 1.0


def test_an_answer_says_what_it_would_be_without_speculation() -> None:
    found, plain = with_draft(POINT, EAGLE), estimate(POINT)
    shown = found.plain()["speculation"]
    assert shown["without"] == plain.rates()
    assert shown["draft_length"] == 3
    assert shown["acceptance_length"] == pytest.approx(iid_length(0.75, 3))
    assert found.tpot_s == pytest.approx(plain.tpot_s / shown["speedup_over_plain"], rel=0.1)
    assert sum(found.breakdown.values()) == pytest.approx(found.tpot_s)
    assert found.breakdown["draft"] > 0
    assert found.pools[0].room.weight_bytes > plain.pools[0].room.weight_bytes
    assert any("speculation" in row["what"] for row in found.assumptions())


def test_decode_pools_apart_speculate_too() -> None:
    point = replace(POINT, split=Split("single", 1, 1), nodes=1, concurrency=16)
    found, plain = with_draft(point, EAGLE), estimate(point)
    assert found.speculation is not None
    assert found.speculation.speedup_over_plain > 1.2
    assert found.tpot_s < plain.tpot_s / 1.2
    assert sum(found.breakdown.values()) == pytest.approx(found.tpot_s)


def test_drafts_that_fill_the_token_budget_keep_sequences_waiting() -> None:
    point = replace(POINT, concurrency=64, engine={"max_num_batched_tokens": 64})
    found = with_draft(point, EAGLE)
    assert found.pools[0].running == 16
    assert "drafts fill engine.max_num_batched_tokens" in found.limits[0]


def test_the_length_chosen_falls_with_the_load() -> None:
    auto = {"eagle": {"draft_tokens": "auto", "acceptance": {"iid": 0.75}}}
    lengths = []
    for clients in (1, 160):
        did = with_draft(replace(POINT, concurrency=clients), auto).speculation
        assert did is not None
        assert did.auto
        lengths.append(did.draft_length)
    assert lengths[0] > lengths[1]


def test_a_draft_on_gpus_of_its_own_counts_them_and_leaves_the_target_its_memory() -> None:
    draft = {"model": "qwen3-8b", "acceptance": {"iid": 0.7}}
    point = replace(POINT, model="llama-3.1-70b", layout={"tensor": {"tp": 4}})
    beside = with_draft(point, {"draft_model": draft})
    apart = with_draft(point, {"draft_model": draft | {"apart": True}})
    assert (beside.gpus, apart.gpus) == (4, 5)
    assert apart.pools[0].room.kv_bytes > beside.pools[0].room.kv_bytes
    assert apart.memory_bytes < beside.memory_bytes


@pytest.mark.parametrize(
    ("written", "says"),
    [
        ("eagel", "eagle"),
        ({"eagle": {}}, "acceptance"),
        ({"eagle": {"acceptance": {"iid": 1.5}}}, "rate"),
        ({"mtp": {"acceptance": {"iid": 0.5}}}, "without multi-token-prediction"),
        ({"draft_model": {"model": "qwen3-8b", "acceptance": {"iid": 0.5},
                          "layout": {"tensor": {"tp": 4}}}}, "write a smaller tp"),
    ],
)  # fmt: skip
def test_drafts_that_cannot_be_are_refused(written: object, says: str) -> None:
    with pytest.raises(ScenarioError, match=says):
        with_draft(POINT, written)


def test_the_command_line_shows_it() -> None:
    from sim.cli import make_app

    words = ["estimate", "--model", "llama-3.1-8b", "--gpu", "h100", "--isl", "500", "--osl", "100",
             "--concurrency", "4", "--speculation", "eagle: {acceptance: {iid: 0.75}}"]  # fmt: skip
    shown = CliRunner().invoke(make_app(), words)
    assert shown.exit_code == 0
    assert "decode steps alone ×" in shown.stdout
    printed = json.loads(CliRunner().invoke(make_app(), [*words, "--json"]).stdout)
    assert printed["speculation"]["draft_length"] == 3
    assert printed["speculation"]["without"]["tpot_s"] > printed["tpot_s"]
