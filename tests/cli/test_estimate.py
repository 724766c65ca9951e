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


@pytest.mark.parametrize(
    ("setting", "told"),
    [
        ("without=[h10]", "timer.calibrated.without: there is no GPU 'h10'; did you mean 'h100'?"),
        ("routing=balanced", "routing: balanced has no effect, llama-3.1-8b has no experts"),
    ],
)
def test_settings_of_the_calibrated_timer_without_effect_are_refused(
    desk: Desk, setting: str, told: str
) -> None:
    words = [w for w in POINT if w not in ("--timer", "roofline")]
    change = f"pools.serve.timer.calibrated.{setting}"
    assert told in desk.mistake("estimate", *words, "--set", change)


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


def test_a_gpu_without_a_machine_gets_that_of_the_nearest_one_and_that_is_said_first(
    desk: Desk,
) -> None:
    machines = {"b300": "hgx_b200", "gb300": "gb200_nvl72", "mi300x": "hgx_h200"}
    for gpu, machine in machines.items():
        found = answer(desk, "--gpu", gpu, "--tp", 4)
        assert found["topology"] == f"{gpu}_as_{machine}"
        assert found["assumptions"][0]["source"].startswith(f"extrapolated: as on {machine}")
        drawn = [row["what"] for row in found["assumptions"]].index("topology collectives.ring")
        assert drawn < len(found["assumptions"]) - 1
        assert found["breakdown"]["collective_s"] > 1e-4


def test_wires_of_the_next_generation_cost_what_those_of_the_last_one_cost(desk: Desk) -> None:
    spent = [answer(desk, "--gpu", g, "--tp", 8)["breakdown"] for g in ("b200", "b300")]
    assert spent[1]["collective_s"] == pytest.approx(spent[0]["collective_s"], rel=0.01)


def test_cards_without_scale_up_wires_have_an_ideal_switch_and_that_is_said_first(
    desk: Desk,
) -> None:
    found = answer(desk, "--gpu", "rtxpro6000", "--tp", 2)
    assert found["topology"] == "ideal_rtxpro6000"
    assert "ideal switch" in found["assumptions"][0]["source"]


def test_an_answer_of_one_token_has_no_tpot(desk: Desk) -> None:
    d = answer(desk, "--osl", 1)
    assert d["tpot_s"] is None
    assert d["tokens_per_s_per_user"] is None
    assert d["ttft_s"] > 0
    assert "–" in desk.sim("estimate", *POINT, "--osl", 1).out


def test_what_only_the_drawing_shows_is_assumed_last(desk: Desk) -> None:
    rows = [row["what"] for row in answer(desk)["assumptions"]]
    assert {"topology gpus_per_pcie_switch", "topology nodes_per_rack"} == set(rows[-2:])


def test_a_router_that_does_not_spread_clients_evenly_is_assumed_to(desk: Desk) -> None:
    def routers(*words: object) -> list[str]:
        rows = answer(desk, *words)["assumptions"]
        return [row["value"] for row in rows if "router" in row["what"]]

    two, random = "pools.serve.engines=2", "deployment.aggregated.router=random"
    assert routers("--set", two, "--set", random) == ["random"]
    assert routers("--set", two) == routers("--set", random) == []


def test_a_token_budget_below_the_usual_number_of_sequences_is_said_to_lower_it(
    desk: Desk,
) -> None:
    rows = answer(desk, "--max-num-batched-tokens", 15)["assumptions"]
    assert [r["value"] for r in rows if r["what"] == "serve max_num_seqs"] == ["15"]
    own = "pools.serve.engine.max_num_seqs=15"
    rows = answer(desk, "--max-num-batched-tokens", 15, "--set", own)["assumptions"]
    assert not [r for r in rows if r["what"] == "serve max_num_seqs"]


def test_memory_says_at_which_lengths_and_counts_one_as_one(desk: Desk) -> None:
    said = desk.sim("estimate", *POINT, "--concurrency", 1)
    text = " ".join(said.out.split())
    assert "1 sequence at the full 1,100 tokens" in text
    assert "of the mean 1,050 tokens" in text
    assert "1 client " in text
    assert "tokens/s on 1 GPU " in text


def test_the_bounds_of_a_setting_are_told_where_pydantic_gives_none(desk: Desk) -> None:
    told = desk.mistake(
        "estimate", *POINT, "--set", "pools.serve.engine.gpu_memory_utilization=nan"
    )
    assert "gpu_memory_utilization' is 'nan'; it must be" in told


def test_a_million_clients_only_wait(desk: Desk) -> None:
    few, many = (answer(desk, "--concurrency", n) for n in (4000, 1_000_000))
    assert many["requests_per_s"] == pytest.approx(few["requests_per_s"])
    assert many["tpot_s"] == few["tpot_s"]
    assert many["e2e_s"] == pytest.approx(1_000_000 / many["requests_per_s"])


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
    (("--topology", "hgx_h200"), "topology hgx_h200 has h200", "leave --topology out"),
    (("--kv", "bf16", "--set", "pools.serve.precision.kv=fp8"), "precision.kv = bf16", "leave one"),
    (("--tp", 4, "--set", "pools.serve.layout.tensor.tp=2"), "layout.tensor.tp = 4", "leave one"),
    (("--set", "pools.serve.timer=calibrated"), "serve.timer = roofline", "leave one"),
    (("--set", "foo"), "--set 'foo'", "PATH=VALUE"),
    (("--set", "topology=hgx_h200"), "topology hgx_h200 has h200", "name a machine"),
    (("--concurrency", 10**21), "--concurrency", "write at most 1,000,000,000"),
    (("--nodes", 10**6), "8,000,000 GPUs", "fewer --nodes"),
    (("--timer", "constant: {step_s: 0}"), "no time", "look at the timer"),
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
