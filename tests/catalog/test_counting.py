"""Counts against published figures, and against counting by hand."""

from __future__ import annotations

from dataclasses import replace

import pytest

from sim.catalog.counting import (
    active_params,
    attention_matrices,
    attention_params,
    embedding_params,
    expert_params,
    ffn_params,
    kv_bytes_held,
    kv_bytes_per_token,
    kv_elements_per_token,
    layer_params,
    mlp_matrices,
    routed_params,
    router_params,
    shared_params,
    total_params,
)
from sim.catalog.model import (
    DenseFfn,
    GroupedAttention,
    LatentAttention,
    Layer,
    Model,
    MoeFfn,
    load_model,
    model_names,
)

PUBLISHED_TOTALS = {  # 10⁹ parameters, from the models' cards and technical reports
    "llama-3.1-8b": 8.030,
    "llama-3.1-70b": 70.55,
    "llama-3.1-405b": 405.85,
    "llama-2-70b": 68.98,
    "qwen3-8b": 8.19,
    "qwen3-32b": 32.76,
    "qwen3-30b-a3b": 30.53,
    "qwen3-235b-a22b": 235.1,
    "mixtral-8x7b": 46.70,
    "deepseek-v3": 671.0,
    "deepseek-r1": 671.0,
    "gpt-oss-120b": 116.8,
    "kimi-k2": 1026.4,
}
PUBLISHED_ACTIVE = {
    "deepseek-v3": 37.6,
    "kimi-k2": 32.9,
    "qwen3-235b-a22b": 22.2,
    "mixtral-8x7b": 12.9,
}
KV_BYTES_BF16 = {
    "llama-3.1-8b": 131_072,
    "llama-3.1-70b": 327_680,
    "llama-3.1-405b": 516_096,
    "qwen3-8b": 147_456,
    "deepseek-v3": 70_272,
    "deepseek-r1": 70_272,
    "kimi-k2": 70_272,
    "qwen3-235b-a22b": 192_512,
    "gpt-oss-120b": 73_728,
}

MHA = GroupedAttention(q_heads=4, kv_heads=4, head_dim=8)
GQA = GroupedAttention(q_heads=4, kv_heads=2, head_dim=8)
MLA = LatentAttention(q_heads=4, q_lora=6, kv_lora=5, nope_dim=8, rope_dim=3, v_dim=7)
HIDDEN = 10


def test_every_model_of_the_catalog_has_a_published_total_to_meet() -> None:
    assert set(model_names()) == set(PUBLISHED_TOTALS)


@pytest.mark.parametrize("name, billions", PUBLISHED_TOTALS.items())
def test_parameter_totals_match_the_published_counts(name: str, billions: float) -> None:
    assert total_params(load_model(name)) == pytest.approx(billions * 1e9, rel=0.002)


@pytest.mark.parametrize("name, billions", PUBLISHED_ACTIVE.items())
def test_active_parameters_match_the_published_counts(name: str, billions: float) -> None:
    assert active_params(load_model(name)) == pytest.approx(billions * 1e9, rel=0.005)


def test_gpt_oss_is_active_with_5_1_billion_beside_its_input_embedding() -> None:
    model = load_model("gpt-oss-120b")
    without_embedding = active_params(model) - model.vocab * model.hidden
    assert without_embedding == pytest.approx(5.13e9, rel=0.002)


@pytest.mark.parametrize("name, count", KV_BYTES_BF16.items())
def test_kv_bytes_per_token_match_the_published_counts(name: str, count: int) -> None:
    assert kv_bytes_per_token(load_model(name)) == count


def test_narrower_kv_is_proportionally_smaller() -> None:
    model = load_model("deepseek-v3")
    assert kv_bytes_per_token(model, 1.0) == 35_136
    assert kv_bytes_per_token(model, 0.5) == 17_568


def test_a_window_bounds_what_its_layers_hold() -> None:
    model = load_model("gpt-oss-120b")
    assert kv_bytes_held(model, 100) == 100 * 73_728
    assert kv_bytes_held(model, 128) == 128 * 73_728
    assert kv_bytes_held(model, 1128) == 128 * 73_728 + 1000 * 73_728 / 2
    assert kv_bytes_held(load_model("llama-3.1-8b"), 1000) == 1000 * 131_072


def test_grouped_attention_counts_by_hand() -> None:
    assert attention_matrices(GQA, HIDDEN) == {
        "q": (10, 32), "k": (10, 16), "v": (10, 16), "o": (32, 10),
    }  # fmt: skip
    assert attention_params(GQA, HIDDEN) == 320 + 160 + 160 + 320
    assert attention_params(MHA, HIDDEN) == 4 * 320
    assert kv_elements_per_token(GQA) == 2 * 2 * 8
    assert kv_elements_per_token(MHA) == 2 * 4 * 8


@pytest.mark.parametrize(
    "extra, count",
    (
        ({"qkv_bias": True}, 32 + 16 + 16),
        ({"o_bias": True}, 10),
        ({"qk_norm": True}, 2 * 8),
        ({"sinks": True}, 4),
        ({"window_tokens": 128}, 0),
    ),
)
def test_what_attention_has_beside_its_matrices(extra: dict[str, bool], count: int) -> None:
    plain = attention_params(GQA, HIDDEN)
    assert attention_params(replace(GQA, **extra), HIDDEN) == plain + count


def test_latent_attention_counts_by_hand() -> None:
    assert attention_matrices(MLA, HIDDEN) == {
        "q_a": (10, 6),
        "q_b": (6, 4 * 11),
        "kv_a": (10, 5 + 3),
        "kv_b": (5, 4 * 15),
        "o": (4 * 7, 10),
    }
    assert attention_params(MLA, HIDDEN) == 60 + 264 + 80 + 300 + 280 + (6 + 5)
    assert kv_elements_per_token(MLA) == 5 + 3


def test_latent_attention_without_query_compression_has_one_query_matrix() -> None:
    plain = replace(MLA, q_lora=None)
    shapes = attention_matrices(plain, HIDDEN)
    assert set(shapes) == {"q", "kv_a", "kv_b", "o"}
    assert shapes["q"] == (10, 44)
    assert attention_params(plain, HIDDEN) == 440 + 80 + 300 + 280 + 5
    assert kv_elements_per_token(plain) == kv_elements_per_token(MLA)


def test_a_gate_is_a_third_matrix() -> None:
    assert mlp_matrices(10, 20, gated=True) == {"gate": (10, 20), "up": (10, 20), "down": (20, 10)}
    assert ffn_params(DenseFfn(20), 10) == 600
    assert ffn_params(DenseFfn(20, gated=False), 10) == 400
    assert ffn_params(DenseFfn(20, bias=True), 10) == 600 + 20 + 20 + 10


def test_experts_router_and_shared_experts_add_up() -> None:
    moe = MoeFfn(experts=8, top_k=2, width=5, shared_width=7)
    assert expert_params(moe, 10) == 150
    assert shared_params(moe, 10) == 210
    assert router_params(moe, 10) == 80
    assert ffn_params(moe, 10) == 8 * 150 + 210 + 80
    assert shared_params(replace(moe, shared_width=0, bias=True), 10) == 0


def test_biases_of_experts_and_router() -> None:
    moe = MoeFfn(experts=8, top_k=2, width=5, bias=True)
    assert expert_params(moe, 10) == 150 + 5 + 5 + 10
    assert router_params(moe, 10) == 80 + 8
    assert router_params(replace(moe, bias=False, router_bias=True), 10) == 80 + 8


def tiny(ffn: DenseFfn | MoeFfn, *, tied: bool = False) -> Model:
    layers = (Layer(MHA, DenseFfn(20)), Layer(MHA, ffn))
    return Model("tiny", HIDDEN, 100, layers, tied, 64, "by hand")


def test_a_dense_models_parameters_are_all_active() -> None:
    model = tiny(DenseFfn(20))
    assert layer_params(model.layers[0], HIDDEN) == 4 * 320 + 600 + 20
    assert total_params(model) == 2 * 1900 + 2 * 1000 + 10
    assert active_params(model) == total_params(model)
    assert routed_params(model) == 0


def test_a_token_touches_the_experts_it_is_routed_to_and_everything_else() -> None:
    model = tiny(MoeFfn(experts=8, top_k=2, width=5, shared_width=7))
    assert routed_params(model) == 8 * 150
    assert total_params(model) - active_params(model) == 6 * 150


def test_tied_embeddings_are_counted_once() -> None:
    untied, tied = tiny(DenseFfn(20)), tiny(DenseFfn(20), tied=True)
    assert embedding_params(untied) == 2 * embedding_params(tied) == 2000
    assert total_params(untied) - total_params(tied) == 1000
