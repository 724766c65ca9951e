"""Which bytes cross from which device to which, and how long that takes."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
from helpers import Ask, Run, planned, play_asks, serving, steady
from hypothesis import given, settings
from hypothesis import strategies as st

from sim.catalog.counting import kv_bytes_held
from sim.catalog.model import GroupedAttention
from sim.cluster.pool import Pool
from sim.perf.kv_route import KvRoute, kv_route
from sim.scenario.build import build


def pools_of(model: str, topology: str, src: Any, dst: Any) -> tuple[Pool, Pool]:
    limits = {"engine": {"max_num_batched_tokens": 256, "max_num_seqs": 16}}
    tree = serving(
        {"path": "traces/sample_azure.csv"},
        model=model,
        topology={"name": topology, "nodes": 4},
        pools={"prefill": {"layout": src} | limits, "decode": {"layout": dst} | limits},
        deployment="disaggregated",
    )
    made = build(planned(tree), None).pools
    return made[0], made[1]


def tensor(tp: int, pp: int = 1) -> dict[str, Any]:
    return {"tensor": {"tp": tp, "pp": pp}}


LAYOUTS = [
    (tensor(1), tensor(1)),
    (tensor(2), tensor(8)),
    (tensor(8), tensor(2)),
    (tensor(4), tensor(4)),
    (tensor(2, 2), tensor(4)),
    (tensor(2, 2), tensor(1, 4)),
]


def copies(pool: Pool) -> int:
    """How many devices of a rank hold the same heads."""
    attention = pool.model.layers[0].attention
    heads = attention.kv_heads if isinstance(attention, GroupedAttention) else 1
    return pool.spread.attention_tp // min(heads, pool.spread.attention_tp)


@pytest.mark.parametrize("model", ["llama-3.1-8b", "qwen3-30b-a3b", "gpt-oss-120b"])
@pytest.mark.parametrize(("src", "dst"), LAYOUTS, ids=str)
@pytest.mark.parametrize("tokens", [1, 100, 1000])
def test_every_device_of_the_destination_gets_its_share_once(
    model: str, src: Any, dst: Any, tokens: int
) -> None:
    """All bytes together are the KV cache, times the copies that the destination keeps."""
    one, other = pools_of(model, "dgx_h100", src, dst)
    route = kv_route(one, 0, 0, other, 0, 0)
    whole = kv_bytes_held(one.model, tokens) * copies(other)
    assert route.nbytes(tokens) == pytest.approx(whole)
    senders, receivers = (Counter(side) for side in zip(*route.pairs, strict=True))
    assert set(receivers) == set(other.devices[0])
    assert set(senders) <= set(one.devices[0])


@pytest.mark.parametrize("ranks", [(8, 8), (8, 4)])
def test_a_latent_goes_from_one_rank_to_one_rank(ranks: tuple[int, int]) -> None:
    """With one device a rank, a handoff is one pair of devices and one copy of the latents."""
    src, dst = ({"dp_attention": {"dp": n, "tp": 8 // n}} for n in ranks)
    one, other = pools_of("deepseek-v3", "hgx_h200", src, dst)
    routes: list[KvRoute] = [kv_route(one, 0, r, other, 0, 0) for r in range(8)]
    for rank, route in enumerate(routes):
        assert route.nbytes(10) == 10 * 70_272 * (8 // ranks[1])
        assert {a for a, _ in route.pairs} == {one.devices[0][rank]}
    assert {b for _, b in routes[0].pairs} == set(other.devices[0][: 8 // ranks[1]])


# ---- times on a switch of 450 GB/s each way without latency


def handed(asks: list[Ask], first_token: str = "prefill", **deployment: Any) -> Run:
    pool = {"timer": steady(0.010), "engine": {"max_num_batched_tokens": 4096}}
    return play_asks(
        asks,
        topology={"name": "single_gpu", "nodes": 2},
        pools={"prefill": pool, "decode": pool},
        deployment={"disaggregated": {"first_token": first_token} | deployment},
    )


RATE = 450e9


@given(prompt=st.integers(1, 4096))
@settings(max_examples=15)
def test_a_streamed_handoff_leaves_one_layer_for_after_the_pass(prompt: int) -> None:
    """31 of 32 layers follow the pass that makes them; the wire is faster than that, so what is
    left when the prompt is done is the tail of one layer."""
    run = handed([Ask(0.0, prompt, 3)], pair_at="arrival", stream=True)
    (row,) = run.table("transfers").to_dict("records")
    assert row["bytes"] == 131_072 * prompt
    assert row["start_s"] == 0.0
    assert row["ready_s"] == pytest.approx(0.010)
    latency = run.plan.topology.bundle([(0, 1)]).latency_s
    tail = row["bytes"] / 32 / RATE
    assert row["end_s"] - row["ready_s"] == pytest.approx(tail + 2 * latency, rel=1e-6, abs=1e-12)


@given(prompts=st.lists(st.integers(1, 4000), min_size=1, max_size=8))
@settings(max_examples=15)
def test_streaming_and_early_pairing_never_delay_the_first_decoded_token(
    prompts: list[int],
) -> None:
    asks = [Ask(0.004 * i, p, 3) for i, p in enumerate(prompts)]
    late, early, streamed = (
        handed(asks, "decode", **d).requests["first_token_s"]
        for d in (
            {"pair_at": "prefill_end"},
            {"pair_at": "arrival"},
            {"pair_at": "arrival", "stream": True},
        )
    )
    assert (early <= late + 1e-12).all()
    assert (streamed <= early + 1e-12).all()


def test_without_room_a_handoff_waits_and_its_source_keeps_the_kv() -> None:
    """The decode pool holds one request at a time: the second's bytes move when the first ends."""
    pool = {"timer": steady(1.0)}
    run = play_asks(
        [Ask(0.0, 32, 10), Ask(0.0, 32, 10)],
        topology={"name": "single_gpu", "nodes": 2},
        units={"decode": 3},
        pools={"prefill": pool, "decode": pool},
        deployment="disaggregated",
    )
    first, second = run.table("transfers").to_dict("records")
    assert first["reserved_s"] == first["asked_s"] == 1.0
    ends = run.requests["end_s"].tolist()
    assert second["reserved_s"] == second["start_s"] == ends[0]
    assert run.requests["preemptions"].tolist() == [0, 0]


def test_a_request_of_one_token_never_reaches_the_decode_pool() -> None:
    for pair_at in ("arrival", "prefill_end"):
        run = handed([Ask(0.0, 50, 1), Ask(0.0, 50, 2)], pair_at=pair_at)
        assert run.table("transfers")["request"].tolist() == [1]
        assert run.requests["decode_engine"].tolist() == [0, 1]
        assert run.requests["end_s"][0] == pytest.approx(0.010)
