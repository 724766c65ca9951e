"""How a model is divided, and what then fits."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sim.catalog.counting import kv_bytes_per_token, routed_params, total_params
from sim.catalog.gpu import load_gpu
from sim.catalog.model import load_model, model_names
from sim.errors import ScenarioError
from sim.perf.layouts.dp_attention import DpAttention
from sim.perf.layouts.single import Single
from sim.perf.layouts.tensor import Tensor
from sim.perf.memory import RESERVE_BYTES, activation_bytes, fit, kv_groups, stage_weight_bytes
from sim.perf.spread import Spread
from sim.perf.task import Formats, Precision

DENSE = ("llama-3.1-8b", "llama-3.1-70b", "llama-3.1-405b", "qwen3-32b", "llama-2-70b")


def formats(model: str, **given: str) -> Formats:
    return Precision(**given).formats(load_model(model))


def weights(model: str, spread: Spread, made: Formats) -> float:
    """Bytes on all devices of an engine."""
    known = load_model(model)
    stages = enumerate(spread.stage_layers(known))
    per_stage = [stage_weight_bytes(known, spread, made, i, layers) for i, layers in stages]
    return sum(per_stage) * spread.stage_devices


# ---- layouts


@pytest.mark.parametrize(
    ("layout", "model", "says"),
    [
        (Tensor(tp=3), "llama-3.1-8b", "try tp ="),
        (Tensor(tp=64), "llama-3.1-8b", "query heads"),
        (Tensor(pp=33), "llama-3.1-8b", "write pp <= 32"),
        (Tensor(tp=4, ep=3), "qwen3-30b-a3b", "ep=3 does not divide tp=4"),
        (Tensor(tp=2, ep=2), "llama-3.1-8b", "has no experts"),
        (DpAttention(dp=4), "llama-3.1-8b", "has none"),
        (DpAttention(dp=3), "qwen3-30b-a3b", "experts"),
        (Tensor(tp=5), "deepseek-v3", "tp=5"),
    ],
    ids=str,
)
def test_a_layout_that_does_not_divide_the_model_says_what_would(
    layout: Tensor | DpAttention, model: str, says: str
) -> None:
    with pytest.raises(ScenarioError) as refused:
        layout.plan(load_model(model))
    assert says in str(refused.value)


@given(name=st.sampled_from(model_names()), tp=st.integers(1, 16), pp=st.integers(1, 9))
@settings(max_examples=60)
def test_whatever_a_refusal_suggests_is_accepted(name: str, tp: int, pp: int) -> None:
    model = load_model(name)
    try:
        spread = Tensor(tp=tp, pp=pp).plan(model)
    except ScenarioError as refused:
        text = str(refused)
        assert "; try tp = " in text or "write pp <= " in text, text
        return
    assert spread.devices == tp * pp
    assert sum(len(layers) for layers in spread.stage_layers(model)) == len(model.layers)
    lengths = [len(layers) for layers in spread.stage_layers(model)]
    assert max(lengths) - min(lengths) <= 1
    devices = [d for s in range(pp) for d in spread.rank_devices(s, 0)]
    assert devices == list(range(tp * pp))


def test_ranks_of_a_lockstep_engine_have_devices_of_their_own() -> None:
    spread = DpAttention(dp=4, tp=2).plan(load_model("qwen3-30b-a3b"))
    devices = [d for rank in range(4) for d in spread.rank_devices(0, rank)]
    assert devices == list(range(8))
    assert spread.expert_parallel == 8


# ---- weights


@pytest.mark.parametrize("name", DENSE)
@pytest.mark.parametrize("tp", [1, 2, 4, 8])
def test_tensor_parallel_devices_together_hold_the_model_once(name: str, tp: int) -> None:
    """Norms are copied, and biases and vectors are not counted: a thousandth."""
    spread = Tensor(tp=tp).plan(load_model(name))
    held = weights(name, spread, formats(name, weights="bf16"))
    assert held == pytest.approx(2.0 * total_params(load_model(name)), rel=2e-3)


@pytest.mark.parametrize("name", DENSE)
@pytest.mark.parametrize("pp", [2, 4])
def test_stages_together_hold_the_model_once(name: str, pp: int) -> None:
    spread = Tensor(pp=pp).plan(load_model(name))
    held = weights(name, spread, formats(name, weights="bf16"))
    assert held == pytest.approx(2.0 * total_params(load_model(name)), rel=2e-3)


@pytest.mark.parametrize("name", ["qwen3-30b-a3b", "qwen3-235b-a22b", "deepseek-v3"])
def test_experts_dealt_over_ranks_are_held_once_and_the_rest_by_every_rank(name: str) -> None:
    model = load_model(name)
    spread = DpAttention(dp=8).plan(model)
    held = weights(name, spread, formats(name, weights="bf16", experts="bf16"))
    routed = routed_params(model)
    expected = 2.0 * (routed + 8 * (total_params(model) - routed))
    assert held == pytest.approx(expected, rel=5e-3)


@pytest.mark.parametrize("name", DENSE)
def test_doubling_tensor_parallelism_halves_a_devices_weights(name: str) -> None:
    made = formats(name)
    one, two = (weights(name, Tensor(tp=t).plan(load_model(name)), made) / t for t in (1, 2))
    assert two / one == pytest.approx(0.5, abs=1e-3)


@pytest.mark.parametrize(("fmt", "bytes_each"), [("bf16", 2.0), ("fp8", 1.0)])
def test_a_smaller_format_shrinks_the_matrices_but_not_embedding_and_norms(
    fmt: str, bytes_each: float
) -> None:
    model = load_model("llama-3.1-8b")
    tables = 2 * model.vocab * model.hidden
    norms = 2 * model.hidden * len(model.layers)
    rest = total_params(model) - tables - norms - model.hidden
    held = weights("llama-3.1-8b", Single().plan(model), formats("llama-3.1-8b", weights=fmt))
    assert held == pytest.approx(bytes_each * rest + 2.0 * (tables + norms), rel=1e-3)


# ---- KV


@pytest.mark.parametrize("tp", [1, 2, 4, 8])
@pytest.mark.parametrize("name", ["llama-3.1-8b", "llama-3.1-70b"])
def test_kv_heads_are_divided_until_each_device_has_one(name: str, tp: int) -> None:
    """8 KV heads over 1, 2, 4, 8 devices."""
    model = load_model(name)
    unit, groups = kv_groups(model, Tensor(tp=tp).plan(model), formats(name), 16)
    assert [g.units for g in groups] == [1]
    assert unit / 16 == pytest.approx(kv_bytes_per_token(model) / tp)


def test_beyond_one_kv_head_a_device_they_are_copied() -> None:
    """qwen3-30b-a3b has 4 KV heads; over 8 devices each holds a whole one."""
    model = load_model("qwen3-30b-a3b")
    units = [
        kv_groups(model, Tensor(tp=tp, ep=1).plan(model), formats(model.name), 16)[0]
        for tp in (4, 8)
    ]
    assert units[0] == units[1] == pytest.approx(kv_bytes_per_token(model) / 4 * 16)


@pytest.mark.parametrize("tp", [1, 8])
def test_a_latent_is_copied_to_every_device(tp: int) -> None:
    """DeepSeek-V3: (512 + 64) numbers of 2 bytes in 61 layers are 70,272 bytes a token."""
    model = load_model("deepseek-v3")
    spread = Tensor(tp=tp, ep=tp).plan(model)
    unit, groups = kv_groups(model, spread, formats("deepseek-v3"), 64)
    assert unit * sum(g.units for g in groups) / 64 == 70_272


def test_fp8_halves_the_kv_cache() -> None:
    model = load_model("llama-3.1-8b")
    one, half = (
        kv_groups(model, Single().plan(model), formats(model.name, kv=f), 16)[0]
        for f in ("bf16", "fp8")
    )
    assert half == one / 2


def test_a_window_group_keeps_its_window_and_a_block() -> None:
    """gpt-oss: every other layer sees 128 tokens; in blocks of 16 that is 128 + 16 at most."""
    model = load_model("gpt-oss-120b")
    unit, groups = kv_groups(model, Single().plan(model), formats(model.name), 16)
    assert [g.cap_tokens for g in groups] == [None, 144]
    per_token = unit * sum(g.units for g in groups) / 16
    assert per_token == pytest.approx(kv_bytes_per_token(model))


# ---- fitting


def fitted(name: str, layout: Single | Tensor | DpAttention, gpu: str = "h100", **changes: float):
    model = load_model(name)
    limits = {"block_tokens": 16, "max_tokens": 2048, "max_sampled": 256, "utilization": 0.9}
    return fit(model, layout.plan(model), load_gpu(gpu), formats(name), **(limits | changes))


def test_what_is_left_for_kv_is_a_subtraction() -> None:
    """80 GiB · 0.9 − weights − activations − 2 GB, in whole units."""
    m = fitted("llama-3.1-8b", Single())
    model = load_model("llama-3.1-8b")
    spread = Single().plan(model)
    left = 0.9 * 80 * 2**30 - weights(model.name, spread, formats(model.name))
    left -= activation_bytes(model, spread, 2048, 256) + RESERVE_BYTES
    assert m.kv_bytes == pytest.approx(left)
    assert m.units == left // (16 * 131_072)


@pytest.mark.parametrize(
    ("name", "layout"),
    [("llama-3.1-70b", Single()), ("llama-3.1-405b", Tensor(tp=8)), ("deepseek-v3", Tensor(tp=8))],
    ids=["70B on one GPU", "405B on eight", "DeepSeek-V3 on eight"],
)
def test_what_does_not_fit_is_refused_with_the_arithmetic(
    name: str, layout: Single | Tensor
) -> None:
    with pytest.raises(ScenarioError) as refused:
        fitted(name, layout)
    text = str(refused.value)
    for part in ("usable", "weights", "activations", "reserve", "more devices"):
        assert part in text


@given(utilization=st.floats(0.35, 1.0), more=st.floats(0.0, 0.3), tokens=st.integers(256, 16384))
@settings(max_examples=30)
def test_more_memory_is_more_kv_and_larger_steps_are_less(
    utilization: float, more: float, tokens: int
) -> None:
    base = fitted("llama-3.1-8b", Single(), utilization=utilization, max_tokens=tokens)
    roomy = fitted(
        "llama-3.1-8b", Single(), utilization=min(1.0, utilization + more), max_tokens=tokens
    )
    longer = fitted("llama-3.1-8b", Single(), utilization=utilization, max_tokens=2 * tokens)
    assert roomy.units >= base.units >= longer.units


def test_a_gpu_with_twice_the_memory_has_room_for_it_all() -> None:
    model = load_model("llama-3.1-8b")
    gpu = load_gpu("h100")
    twice = replace(gpu, hbm_bytes=2 * gpu.hbm_bytes)
    limits = {"block_tokens": 16, "max_tokens": 2048, "max_sampled": 256, "utilization": 0.9}
    one, two = (
        fit(model, Single().plan(model), g, formats(model.name), **limits) for g in (gpu, twice)
    )
    assert two.kv_bytes - one.kv_bytes == pytest.approx(0.9 * gpu.hbm_bytes)
