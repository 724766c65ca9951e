"""`sim estimate`: one design point."""

from __future__ import annotations

import json
from typing import Any

import pytest
from desk import Desk

POINT = ("--model", "llama-3.1-8b", "--gpu", "h100", "--isl", 1000, "--osl", 100,
         "--concurrency", 8, "--timer", "roofline")  # fmt: skip


def answer(desk: Desk, *words: object) -> dict[str, Any]:
    said = desk.sim("estimate", *POINT, *words, "--json")
    assert said.code == 0, said.err
    found: dict[str, Any] = json.loads(said.out)
    return found


def test_json_is_one_object_whose_numbers_agree(desk: Desk) -> None:
    d = answer(desk)
    assert d["gpus"] == 1
    assert d["tokens_per_s_per_user"] == pytest.approx(1 / d["tpot_s"])
    assert d["e2e_s"] == pytest.approx(d["ttft_s"] + 99 * d["tpot_s"])
    assert d["requests_per_s"] == pytest.approx(8 / d["e2e_s"])
    assert d["output_tokens_per_s_per_gpu"] == pytest.approx(100 * d["requests_per_s"])
    assert sum(d["breakdown"].values()) == pytest.approx(d["tpot_s"])
    assert d["breakdown"][f"{d['bottleneck']}_s"] == max(d["breakdown"].values())
    memory = d["pools"]["serve"]["memory"]
    parts = ("weight_bytes", "activation_bytes", "reserve_bytes", "kv_used_bytes")
    assert d["memory_bytes"] == pytest.approx(sum(memory[p] for p in parts))
    assert d["assumptions"]


def test_the_calibrated_timer_is_the_default(desk: Desk) -> None:
    words = [w for w in POINT if w not in ("--timer", "roofline")]
    said = desk.sim("estimate", *words, "--engine", "trtllm-1.3", "--json")
    assert said.code == 0, said.err
    sources = json.loads(said.out)["assumptions"]
    assert any("trtllm-1.3" in row["what"] for row in sources)


def test_people_read_units(desk: Desk) -> None:
    said = desk.sim("estimate", *POINT)
    assert said.code == 0
    for word in ("TTFT", "ms", "tokens/s/user", "tokens/s/GPU", "GB weights", "assumed"):
        assert word in said.out


def test_more_gpus_per_engine_shorten_the_steps(desk: Desk) -> None:
    one, two = answer(desk), answer(desk, "--tp", 2)
    assert two["gpus"] == 2
    assert two["tpot_s"] < one["tpot_s"]
    assert answer(desk, "--layout", "tensor:{tp: 2}") == two


def test_pools_apart_are_matched_or_as_they_are_given(desk: Desk) -> None:
    split = ("--mode", "disaggregated", "--prefill-tp", 2)
    free = answer(desk, *split)
    assert abs(free["rate_matching"]["imbalance"]) <= 0.03
    assert (
        free["gpus"] == 2 * free["pools"]["prefill"]["engines"] + free["pools"]["decode"]["engines"]
    )
    given = answer(desk, *split, "--prefill-engines", 1, "--decode-engines", 2)
    assert given["gpus"] == 4
    assert given["concurrency"] == 8
    assert given["handoff"]["bytes"] == 1000 * 131072
    late = "deployment.disaggregated.first_token=decode"
    later = answer(desk, *split, "--prefill-engines", 1, "--decode-engines", 2, "--set", late)
    assert later["ttft_s"] == pytest.approx(given["ttft_s"] + given["handoff"]["seconds"])


def test_a_gpu_without_a_machine_gets_an_ideal_switch_and_that_is_said(desk: Desk) -> None:
    said = desk.sim("estimate", *POINT, "--gpu", "mi300x", "--tp", 4, "--json")
    found = json.loads(said.out)
    assert found["topology"] == "ideal_mi300x"
    assert any("ideal switch" in row["source"] for row in found["assumptions"])


def test_an_answer_of_one_token_has_no_tpot(desk: Desk) -> None:
    d = answer(desk, "--osl", 1)
    assert d["tpot_s"] is None
    assert d["tokens_per_s_per_user"] is None
    assert d["ttft_s"] > 0
    assert "–" in desk.sim("estimate", *POINT, "--osl", 1).out


MISTAKES = [
    (("--model", "lama-3.1-8b"), "--model: ", "did you mean 'llama-3.1-8b'?"),
    (("--gpu", "h10"), "--gpu: ", "did you mean 'h100'?"),
    (("--kv", "fp9"), "--kv: ", "did you mean 'fp8'?"),
    (("--engine", "vlm-0.24"), "--engine: ", "did you mean 'vllm-0.24'?"),
    (("--engine", "vllm-0.24"), "--engine", "has no effect with --timer roofline"),
    (("--mode", "disagregated"), "--mode", "did you mean 'disaggregated'?"),
    (("--prefill-tp", 2), "--prefill-tp", "write --mode disaggregated"),
    (("--tp", 3), "layout: tp=3", "try tp = 1, 2, 4"),
    (("--layout", "single", "--tp", 2), "--layout", "leave --tp"),
    (("--dp", 2, "--pp", 2), "--pp 2", "leave one of them out"),
    (("--model", "llama-3.1-405b"), "does not fit on h100 as TP1", "use more devices"),
    (("--isl", 200_000), "longer than the context of 131,072", "shorter --isl"),
    (("--topology", "hgx_h200"), "--topology hgx_h200 has h200", "leave --topology out"),
    (("--set", "slo.ttft_s=1"), "--set 'slo.ttft_s=1'", "`sim run`"),
    (("--set", "pools.serve.engine.batcher=static"), "batcher: static", "`sim run`"),
    (("--set", "pools.other.engines=1"), "pools", "leave it out"),
]  # fmt: skip


@pytest.mark.parametrize(("words", "names", "way_out"), MISTAKES, ids=lambda v: str(v)[:40])
def test_a_mistake_is_a_sentence_that_names_it_and_a_way_out(
    desk: Desk, words: tuple[object, ...], names: str, way_out: str
) -> None:
    told = desk.mistake("estimate", *POINT, *words)
    assert names in told
    assert way_out in told
