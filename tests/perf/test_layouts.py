"""Layouts beyond tensor and pipeline: what every device holds, what is exchanged, what it costs."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter

from sim.catalog.counting import (
    attention_params,
    ffn_params,
    kv_bytes_per_token,
    total_params,
)
from sim.catalog.gpu import load_gpu
from sim.catalog.model import load_model
from sim.errors import ScenarioError
from sim.network.topology import load_topology
from sim.perf.ffn_side import FfnSide
from sim.perf.helix import kept_tokens
from sim.perf.kv_exchange import KvExchange
from sim.perf.layer_work import layer_work, partial_results
from sim.perf.layouts import Layout
from sim.perf.layouts.attention_ffn_split import AttentionFfnSplit
from sim.perf.layouts.context_parallel import ContextParallel
from sim.perf.layouts.dp_attention import DpAttention
from sim.perf.layouts.helix import Helix
from sim.perf.layouts.kv_parallel import KvParallel
from sim.perf.layouts.tensor import Tensor
from sim.perf.memory import ffn_weight_bytes, fit, kv_groups, stage_weight_bytes
from sim.perf.operators.dispatch import all_to_all_seconds, fitted_seconds, limited
from sim.perf.shape import StepShape, pairs
from sim.perf.streams import Parts, PingPong
from sim.perf.surfaces.dispatch import Dispatch
from sim.perf.task import Precision, PriceTask
from sim.perf.timers.roofline import Roofline
from sim.scenario.placing import wires

DENSE, EXPERTS = "llama-3.1-70b", "qwen3-30b-a3b"
FREE = Roofline(launch_s=0.0, host_s=0.0)


def split(**given: Any) -> AttentionFfnSplit:
    """Attention and feed-forward devices, written as in a scenario."""
    made: AttentionFfnSplit = TypeAdapter(AttentionFfnSplit).validate_python(given)
    return made


def task(name: str, layout: Layout, nodes: int = 1, tokens: int = 256, **formats: str) -> PriceTask:
    model, topology = load_model(name), load_topology("hgx_h200", nodes=nodes)
    spread = layout.plan(model)
    among = wires(topology, spread, tuple(range(spread.devices)))
    made = Precision(**formats).formats(model)
    return PriceTask(model, spread, load_gpu("h200"), made, among, tokens, tokens)


def weights(made: PriceTask) -> float:
    """Bytes on all devices that do attention."""
    spread, layers = made.spread, made.model.layers
    one = stage_weight_bytes(made.model, spread, made.formats, 0, layers)
    return one * spread.stage_devices


# ---- who divides what


@pytest.mark.parametrize(
    ("layout", "model", "says"),
    [
        (Helix(kvp=2, tpa=16), DENSE, "write tpa <= 8"),
        (Helix(kvp=2, tpa=2), "deepseek-v3", "write tpa <= 1"),
        (Helix(kvp=3, tpa=8), DENSE, r"kvp·tpa=24 does not divide the 64 query heads"),
        (Helix(kvp=4, ep=2), DENSE, "leave it out"),
        (Helix(kvp=4, ep=3), EXPERTS, "write an ep that divides 4"),
        (Helix(kvp=4, ep=2, tpf=4), EXPERTS, "leave tpf out"),
        (KvParallel(kvp=2, tp=3), DENSE, "try tp ="),
        (ContextParallel(cp=2, tp=3), DENSE, "try tp ="),
        (split(ffn={"ep": 3}), EXPERTS, r"ffn.ep=3 does not divide the 128 experts"),
        (split(attention={"tp": 3}), EXPERTS, r"try attention.tp ="),
        (split(ffn={"ep": 2}), DENSE, "leave it out"),
        (Tensor(sequence_parallel=True), DENSE, "no effect"),
    ],
    ids=str,
)
def test_a_layout_that_does_not_divide_the_model_names_what_would(
    layout: Layout, model: str, says: str
) -> None:
    with pytest.raises(ScenarioError, match=rf"^layout.*{says}"):
        layout.plan(load_model(model))


@given(context=st.integers(0, 5000), kvp=st.integers(1, 16), run=st.sampled_from([1, 16, 32]))
def test_new_keys_go_round_the_groups_and_none_is_a_run_ahead(
    context: int, kvp: int, run: int
) -> None:
    """HX-14: at any time no two groups differ by more than one run of appended tokens."""
    kept, next_ = (kept_tokens(c, kvp, run) for c in (context, context + 1))
    assert sum(kept) == context
    assert max(kept) - min(kept) <= run
    assert sorted(b - a for a, b in zip(kept, next_, strict=True)) == [0] * (kvp - 1) + [1]


# ---- memory


def test_helix_copies_what_makes_queries_and_keys_and_holds_the_rest_once() -> None:
    model = load_model(DENSE)
    made = task(DENSE, Helix(kvp=2, tpa=4), weights="bf16")
    layer = model.layers[0]
    output = layer.attention.q_heads * layer.attention.head_dim * model.hidden
    copied = len(model.layers) * (attention_params(layer.attention, model.hidden) - output)
    assert weights(made) == pytest.approx(2.0 * (total_params(model) + copied), rel=2e-3)


@pytest.mark.parametrize("layout", [KvParallel(kvp=2, tp=4), ContextParallel(cp=2, tp=4)], ids=str)
def test_groups_of_vanilla_kv_and_context_parallelism_are_copies(layout: Layout) -> None:
    made = task(DENSE, layout, weights="bf16")
    assert weights(made) == pytest.approx(4.0 * total_params(made.model), rel=2e-3)


@pytest.mark.parametrize(
    "layout",
    [Helix(kvp=2, tpa=4), KvParallel(kvp=2, tp=4), ContextParallel(cp=2, tp=4)],
    ids=str,
)
def test_a_groups_kv_is_its_share_of_the_positions(layout: Layout) -> None:
    model = load_model(DENSE)
    unit, groups = kv_groups(model, layout.plan(model), Precision().formats(model), 16)
    assert unit * sum(g.units for g in groups) / 16 == pytest.approx(kv_bytes_per_token(model) / 8)


def test_a_recurrent_state_cannot_be_shared_by_position_and_is_copied() -> None:
    """Nemotron: the state's bytes per device do not fall with KV groups, the KV's do."""
    model = load_model("nemotron-3-nano")
    alone, shared = (
        kv_groups(model, KvParallel(kvp=k).plan(model), Precision().formats(model), 16)
        for k in (1, 2)
    )
    sizes = [[unit * g.units for g in groups] for unit, groups in (alone, shared)]
    assert sizes[1] == pytest.approx([sizes[0][0] / 2, sizes[0][1]])


def test_split_devices_together_hold_experts_once_and_attention_once_a_rank() -> None:
    made = task(EXPERTS, split(attention={"dp": 2, "tp": 2}, ffn={"ep": 4}), weights="bf16")
    model, spread = made.model, made.spread
    assert spread.devices == 8
    assert list(spread.ffn_positions()) == [4, 5, 6, 7]
    ffn = ffn_weight_bytes(model, spread, made.formats, model.layers) * spread.ffn_devices
    routers = 3 * sum(model.hidden * layer.ffn.experts for layer in model.layers)
    counted = sum(ffn_params(layer.ffn, model.hidden) for layer in model.layers)
    assert ffn == pytest.approx(2.0 * (counted + routers))
    rest = total_params(model) - counted
    assert weights(made) == pytest.approx(2 * 2.0 * rest, rel=1e-2)


def fitted(made: PriceTask) -> Any:
    return fit(
        made.model,
        made.spread,
        made.gpu,
        made.formats,
        block_tokens=16,
        max_tokens=2048,
        max_sampled=256,
        utilization=0.9,
    )


def test_feed_forward_devices_that_are_too_few_are_refused_with_the_arithmetic() -> None:
    with pytest.raises(ScenarioError, match=r"feed-forward layers of .* weights .* ffn\.ep"):
        fitted(task("qwen3-235b-a22b", split(attention={"dp": 2}, ffn={"ep": 2})))


def test_attention_devices_without_experts_have_more_room_for_kv() -> None:
    apart = fitted(task(EXPERTS, split(attention={"dp": 4}, ffn={"ep": 4})))
    together = fitted(task(EXPERTS, DpAttention(dp=8)))
    assert apart.kv_bytes > together.kv_bytes


def test_gathering_keys_takes_room_that_a_ring_does_not() -> None:
    ring, gather = (fitted(task(DENSE, ContextParallel(cp=8, method=m), weights="fp8"))
                    for m in ("ring", "all_gather"))  # fmt: skip
    kept = 4 * 8 * 128  # K and V of 8 heads, 16 bit
    assert gather.activation_bytes - ring.activation_bytes == (2048 - 2 * 256) * kept


# ---- exchange and price


def decode(made: PriceTask, batch: int, context: int, timer: Roofline = FREE) -> float:
    shape = StepShape(decodes=batch, context_tokens=batch * context, sampled=batch)
    return timer.compile(made).price([shape] * made.spread.ranks)


def prompt(tokens: int, offset: int = 0) -> StepShape:
    return StepShape(
        prefills=1,
        prefill_tokens=tokens,
        prefill_pairs=pairs(offset, tokens),
        prefill_kv_tokens=offset + tokens,
    )


@pytest.mark.parametrize("layout", [Helix(kvp=4, tpa=2), KvParallel(kvp=4, tp=2)], ids=str)
def test_kv_groups_read_their_part_of_the_context(layout: Layout) -> None:
    whole = FREE.compile(task(DENSE, Tensor(tp=2), nodes=2)).tables[0].attention[0]
    part = FREE.compile(task(DENSE, layout)).tables[0].attention[0]
    assert part.decode.far_key[8] == pytest.approx(whole.decode.far_key[8] / 4)


def test_hidden_exchange_is_never_slower_than_exposed_nor_quicker_than_none() -> None:
    for batch in (1, 8, 64):
        for context in (1_000, 100_000):
            hidden, exposed = (
                decode(task(DENSE, Helix(kvp=4, tpa=2, hop_b=h)), batch, context)
                for h in (True, False)
            )
            made = task(DENSE, Helix(kvp=4, tpa=2))
            timer = FREE.compile(made)
            none = replace(timer, tables=(replace(timer.tables[0], exchange=None),))
            shape = StepShape(decodes=batch, context_tokens=batch * context, sampled=batch)
            assert none.price([shape]) < hidden <= exposed


def test_one_sequence_has_nothing_to_hide_its_exchange_behind() -> None:
    hidden, exposed = (
        decode(task(DENSE, Helix(kvp=4, tpa=2, hop_b=h)), 1, 50_000) for h in (True, False)
    )
    assert hidden == pytest.approx(exposed, rel=1e-12)


@given(
    attention=st.floats(0.1, 10.0), hops=st.floats(0.01, 20.0), groups=st.integers(2, 16)
)  # fmt: skip
def test_a_ring_hides_every_hop_behind_the_attention_to_the_keys_at_hand(
    attention: float, hops: float, groups: int
) -> None:
    none = np.zeros(5)
    ring = KvExchange((none,), np.array([0.0, hops, 0, 0, 0]), 0.0, "ring", groups)
    shape = StepShape(prefills=1, prefill_tokens=1, prefill_kv_tokens=1)
    one, hop = attention / groups, hops / (groups - 1)
    expected = one + (groups - 1) * max(one, hop)
    assert ring.seconds(0.0, attention, 0, shape) == pytest.approx(expected)


def test_a_ring_moves_every_other_groups_keys_and_values_once() -> None:
    """2(n − 1) steps of B·s/n·h·b bytes, K and V (arXiv 2105.13120): 8 heads of 128, 16 bit."""
    made = task(DENSE, ContextParallel(cp=4, tp=1), tokens=4096)
    among = made.wires.kv[0]
    sent = 2 * (4096 / 4) * 8 * 128 * 2.0
    hops = FREE.compile(made).tables[0].exchange
    assert hops is not None
    assert hops.keys is not None
    assert hops.keys[4096] == pytest.approx(80 * 3 * among.send_s(sent))


def test_context_parallelism_divides_a_prompt_and_not_the_weights_of_a_decode() -> None:
    alone, four = (task(DENSE, ContextParallel(cp=c, tp=2), tokens=8192) for c in (1, 4))
    priced = [FREE.compile(x).price([prompt(8192)]) for x in (alone, four)]
    assert priced[0] / priced[1] == pytest.approx(4.0, rel=0.05)
    assert decode(four, 1, 100) > 0.95 * decode(alone, 1, 100)


def test_a_ring_hides_what_gathering_exposes() -> None:
    ring, gather = (
        FREE.compile(task(DENSE, ContextParallel(cp=4, tp=2, method=m), tokens=4096))
        for m in ("ring", "all_gather")
    )
    assert ring.price([prompt(4096)]) < gather.price([prompt(4096)])


def test_cached_keys_go_round_too() -> None:
    timer = FREE.compile(task(DENSE, ContextParallel(cp=4, tp=2, method="all_gather"), tokens=1024))
    exchange = timer.tables[0].exchange
    assert exchange is not None
    assert exchange.keys is not None
    fresh, behind = (exchange.seconds(0.0, 0.0, 0, prompt(1024, o)) for o in (0, 1024))
    assert behind - fresh == pytest.approx(1024 * exchange.cached_s)
    assert behind - fresh == pytest.approx(2 * (exchange.keys[1024] - exchange.keys[512]), rel=0.1)


def test_sequence_parallelism_scatters_and_gathers_and_divides_norms() -> None:
    plain, parts = (task(DENSE, Tensor(tp=8, sequence_parallel=s)) for s in (False, True))
    works = [layer_work(x, x.model.layers[0]) for x in (plain, parts)]
    assert [e.operation for e in works[0].exchanges] == ["all_reduce"] * 2
    assert [e.operation for e in works[1].exchanges] == ["reduce_scatter", "all_gather"] * 2
    assert works[1].passes[0].numbers == works[0].passes[0].numbers / 8
    assert works[1].ffn_passes == works[0].ffn_passes


@pytest.mark.parametrize("chunks", [2, 4, 8])
def test_latent_attention_rebuilds_the_keys_of_earlier_chunks(chunks: int) -> None:
    """BTB-12: 2 · kv_lora · heads · (nope + v) · Σ (i − 1) · c operations a layer; none for
    grouped attention."""
    size = 4096 // chunks
    extra = {}
    for name in ("deepseek-v3", DENSE):
        made = task(name, Tensor(tp=8, ep=8 if name != DENSE else 1), tokens=4096)
        (price,) = FREE.compile(made).tables[0].attention
        cut = sum(price.prefill_s(size, prompt(size, i * size)) for i in range(chunks))
        extra[name] = cut - price.prefill_s(4096, prompt(4096))
    again = sum(i * size for i in range(chunks))
    operations = 61 * 2.0 * 512 * (128 / 8) * (128 + 128) * again
    rate = 989e12 * 0.78
    assert extra["deepseek-v3"] == pytest.approx(operations / rate, rel=0.01)
    assert extra[DENSE] < 0.02 * extra["deepseek-v3"]


# ---- attention and feed-forward on different devices


def played(m: int, layers: int, a: float, e: float, c: float) -> float:
    """The last micro-batch's end: every resource takes them in order, one at a time."""
    free = [0.0, 0.0, 0.0, 0.0]
    ready = [0.0] * m
    for _ in range(layers):
        for stage, seconds in enumerate((a, c, e, c)):
            for i in range(m):
                begin = max(ready[i], free[stage])
                ready[i] = free[stage] = begin + seconds
    return max(ready)


@given(
    m=st.integers(1, 5),
    layers=st.integers(1, 6),
    times=st.tuples(*[st.floats(0.1, 3.0) for _ in range(3)]),
)
def test_micro_batches_to_and_fro_take_what_a_played_pipeline_takes(
    m: int, layers: int, times: tuple[float, float, float]
) -> None:
    a, e, c = times
    whole = Parts(a * m * layers, 0.0, e * m * layers, 2 * c * m * layers, tokens=m)
    law = PingPong(m, layers).joined(whole)
    assert law == pytest.approx(played(m, layers, a, e, c))
    slowest, once = max(a, e, c), a + e + 2 * c
    if m * slowest >= once:
        assert law == pytest.approx(once + slowest * (m * layers - 1)), "equation 5"


def test_three_micro_batches_hide_the_transfer_that_two_do_not() -> None:
    """Balanced sides and a transfer of a quarter: m ≥ 2 · (1 + c/f) = 2.5."""
    busy = {m: PingPong(m, 100).joined(Parts(m, 0.0, m, m / 2, tokens=m)) / m for m in (1, 2, 3)}
    assert busy[1] == pytest.approx(2.5, rel=0.02)
    assert busy[2] == pytest.approx(1.25, rel=0.02)
    assert busy[3] == pytest.approx(1.0, rel=0.02)


def test_transfers_within_a_domain_are_quicker_than_between_domains() -> None:
    near = task("qwen3-235b-a22b", split(attention={"dp": 4}, ffn={"ep": 4}))
    far = task("qwen3-235b-a22b", split(attention={"dp": 8}, ffn={"ep": 8}), nodes=2)
    assert FfnSide(near).crossing().group.domains == 1
    assert FfnSide(far).crossing().group.domains == 2
    layer, tokens = near.model.layers[0], np.array([64.0])
    routed = layer_work(near, layer).routed
    assert FfnSide(far).transfer_s(layer, routed, tokens) > FfnSide(near).transfer_s(
        layer, routed, tokens
    )


# ---- dispatch


def test_tokens_go_to_eight_bit_experts_in_eight_bits_and_come_back_in_sixteen() -> None:
    """FP8 and a 4-byte scale for 128 values: 1.03125 of 2 bytes."""
    made = task("deepseek-v3", DpAttention(dp=8))
    there, back = layer_work(made, made.model.layers[-1]).exchanges[-2:]
    assert (there.operation, back.operation) == ("dispatch", "combine")
    assert there.bytes_per_token / back.bytes_per_token == pytest.approx(1.03125 / 2)
    wide = layer_work(task(EXPERTS, DpAttention(dp=8)), load_model(EXPERTS).layers[0]).exchanges
    assert wide[-2].bytes_per_token == wide[-1].bytes_per_token


def test_a_limit_of_nodes_limits_what_is_sent() -> None:
    """DeepSeek-V3: experts of a token on at most 4 of 8 nodes of 8."""
    made = task("deepseek-v3", DpAttention(dp=64, node_limit=4), nodes=8)
    among, layer = made.wires.stage[0], made.model.layers[-1]
    (one,) = [e for e in layer_work(made, layer).exchanges if e.operation == "combine"]
    n, fewer, k = 64, 32, 8
    share = fewer * (1 - (1 - 1 / fewer) ** k) / (n * (1 - (1 - 1 / n) ** k))
    assert limited(among.group, k, 4) == pytest.approx(share)
    assert limited(among.group, k, 8) == 1.0
    tokens = np.array([4096.0])
    assert all_to_all_seconds(tokens, one, among) < all_to_all_seconds(
        tokens, replace(one, node_limit=None), among
    )


class _Measured:
    """A shelf with both modes of DeepEP: 1 s and 10 s a call."""

    gpu = load_gpu("h200")

    def find(self, kind: str, variant: str) -> Any:
        seconds = 1.0 if variant.endswith("low_latency") else 10.0
        surface = Dispatch(launch_s=(seconds, 2 * seconds))
        return type("Found", (), {"surface": surface, "fitted": variant != "one_sided" or None})


def test_few_tokens_go_in_low_latency_mode_and_many_in_normal_mode() -> None:
    made = task("deepseek-v3", DpAttention(dp=8))
    there, back = layer_work(made, made.model.layers[-1]).exchanges[-2:]
    tokens = np.array([1.0, 128.0, 129.0, 8192.0])
    shelf: Any = _Measured()
    for exchange, launch in ((there, 1.0), (back, 2.0)):
        priced = fitted_seconds(shelf, tokens, exchange, made.wires.stage[0])
        assert priced == pytest.approx(launch * np.array([1, 1, 10, 10]), rel=0.02)


def test_dispatch_takes_longer_for_more_tokens_on_a_rack() -> None:
    model, topology = load_model("deepseek-v3"), load_topology("gb200_nvl72")
    spread = DpAttention(dp=32).plan(model)
    among = wires(topology, spread, tuple(range(32)))
    made = PriceTask(
        model, spread, load_gpu("gb200"), Precision().formats(model), among, 256, 256
    )  # fmt: skip
    there = layer_work(made, model.layers[-1]).exchanges[-2]
    shelf: Any = _Measured()
    shelf.gpu = made.gpu
    priced = fitted_seconds(shelf, np.array([1.0, 64.0, 256.0]), there, among.stage[0])
    assert all(a < b for a, b in pairwise(priced))
    assert priced[0] < 1.0, "one-sided, not DeepEP"


def test_layouts_that_share_no_kv_exchange_no_partial_results() -> None:
    made = task(DENSE, Tensor(tp=8))
    assert partial_results(made, made.model.layers[0]) is None
    assert FREE.compile(made).tables[0].exchange is None
