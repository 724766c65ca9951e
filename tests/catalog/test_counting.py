"""Counts against published figures, and against counting by hand."""

from __future__ import annotations

from dataclasses import replace

import pytest

from sim.catalog.counting import (
    active_params,
    attention_matrices,
    attention_params,
    conv_state_bytes,
    embedding_params,
    expert_params,
    ffn_params,
    kv_bytes_held,
    kv_bytes_per_token,
    kv_elements_per_token,
    latent_matrices,
    layer_params,
    mlp_matrices,
    recurrent_state_bytes,
    routed_params,
    router_params,
    shared_params,
    state_bytes_per_sequence,
    total_params,
)
from sim.catalog.model import (
    DenseFfn,
    GatedDeltaAttention,
    GroupedAttention,
    LatentAttention,
    Layer,
    Model,
    MoeFfn,
    NoAttention,
    NoFfn,
    SparseLatentAttention,
    StateSpaceAttention,
    load_model,
    model_names,
)
from sim.catalog.presets import with_layers

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
    "deepseek-v3.2": 671.9,
    "nemotron-3-nano": 31.6,
    "nemotron-3-super": 120.7,
    "nemotron-3-ultra": 549.3,
    "gpt-oss-20b": 20.9,
    "llama-3.3-70b": 70.55,
    "llama-2-7b": 6.738,
    "llama-2-13b": 13.016,
    "bloom-176b": 176.25,
    "opt-13b": 12.85,
    "opt-66b": 65.72,
    "yi-34b": 34.39,
    "qwen3-14b": 14.77,
    "qwen3-coder-480b-a35b": 480.2,
    "qwen3-next-80b-a3b": 79.67,
    "mixtral-8x22b": 140.6,
    "kimi-k2-80layers": 1350.0,
    "qwen3-4b": 4.022,
    "qwen2.5-1.5b": 1.544,
    "qwen2.5-7b": 7.616,
    "qwen2.5-14b": 14.77,
    "qwen2.5-32b": 32.76,
    "qwen2.5-72b": 72.71,
    "r1-distill-qwen-1.5b": 1.777,
    "r1-distill-qwen-7b": 7.616,
    "r1-distill-qwen-14b": 14.77,
    "r1-distill-qwen-32b": 32.76,
    "codellama-34b": 33.74,
}
PUBLISHED_ACTIVE = {
    "deepseek-v3": 37.6,
    "kimi-k2": 32.9,
    "qwen3-235b-a22b": 22.2,
    "mixtral-8x7b": 12.9,
    "deepseek-v3.2": 38.4,
    "nemotron-3-nano": 3.6,
    "nemotron-3-super": 12.8,
    "nemotron-3-ultra": 56.1,
    "mixtral-8x22b": 39.1,
    "qwen3-coder-480b-a35b": 35.4,
}
KV_BYTES_BF16 = {
    "llama-3.1-8b": 131_072,
    "llama-3.1-70b": 327_680,
    "llama-3.1-405b": 516_096,
    "qwen3-8b": 147_456,
    "qwen3-4b": 147_456,
    "qwen2.5-7b": 57_344,
    "qwen2.5-32b": 262_144,
    "deepseek-v3": 70_272,
    "deepseek-r1": 70_272,
    "kimi-k2": 70_272,
    "qwen3-235b-a22b": 192_512,
    "gpt-oss-120b": 73_728,
    "nemotron-3-nano": 6_144,
    "nemotron-3-super": 8_192,
    "nemotron-3-ultra": 12_288,
    "bloom-176b": 4_014_080,
    "qwen3-next-80b-a3b": 24_576,
}
STATE_MB = {  # recurrent state in FP32 and convolution inputs of one sequence
    "nemotron-3-super": (168, 3.3),
    "nemotron-3-ultra": (403, 7.1),
    "nemotron-3-nano": (48, 1.1),
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


def test_lm_9_kimi_k2_with_80_layers_has_1_35_trillion_parameters() -> None:
    deep = load_model("kimi-k2-80layers")
    assert total_params(deep) == pytest.approx(1.350e12, rel=0.005)
    assert total_params(load_model("kimi-k2")) == pytest.approx(1.026e12, rel=0.005)
    assert with_layers(load_model("kimi-k2"), 80).layers == deep.layers


@pytest.mark.parametrize("name, billions", PUBLISHED_ACTIVE.items())
def test_active_parameters_match_the_published_counts(name: str, billions: float) -> None:
    assert active_params(load_model(name)) == pytest.approx(billions * 1e9, rel=0.006)


def test_gpt_oss_is_active_with_5_1_billion_beside_its_input_embedding() -> None:
    model = load_model("gpt-oss-120b")
    without_embedding = active_params(model) - model.vocab * model.hidden
    assert without_embedding == pytest.approx(5.13e9, rel=0.002)


@pytest.mark.parametrize("name, count", KV_BYTES_BF16.items())
def test_kv_bytes_per_token_match_the_published_counts(name: str, count: int) -> None:
    assert kv_bytes_per_token(load_model(name)) == count


@pytest.mark.parametrize("name, megabytes", STATE_MB.items())
def test_states_of_hybrids_match_the_published_sizes(
    name: str, megabytes: tuple[float, float]
) -> None:
    layers = [layer.attention for layer in load_model(name).layers]
    assert sum(map(recurrent_state_bytes, layers)) == pytest.approx(megabytes[0] * 1e6, rel=0.005)
    assert sum(map(conv_state_bytes, layers)) == pytest.approx(megabytes[1] * 1e6, rel=0.03)


def test_a_state_is_held_at_any_length_and_kv_grows_beside_it() -> None:
    model = load_model("nemotron-3-super")
    states = state_bytes_per_sequence(model)
    assert states == 40 * (128 * 64 * 128 * 4 + (128 * 64 + 2 * 8 * 128) * 4 * 2)
    assert kv_bytes_held(model, 0) == states
    assert kv_bytes_held(model, 1000) == states + 1000 * 8_192


def test_an_indexer_adds_an_fp8_key_and_its_scale_whatever_the_kv_format() -> None:
    """61 layers · 128 B are the published 7.8 KB; an FP32 scale for 128 numbers comes on top."""
    model = load_model("deepseek-v3.2")
    assert kv_bytes_per_token(model) == 70_272 + 7_808 + 61 * 4
    assert kv_bytes_per_token(model, 1.0) == 35_136 + 7_808 + 61 * 4
    assert kv_bytes_per_token(load_model("deepseek-v3")) == 70_272


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


def test_an_indexer_has_three_matrices_and_the_norm_of_its_key() -> None:
    sparse = SparseLatentAttention(MLA, index_heads=3, index_dim=7, index_topk=64)
    shapes = attention_matrices(sparse, HIDDEN)
    assert {k: v for k, v in shapes.items() if k.startswith("index")} == {
        "index_q": (6, 21), "index_k": (10, 7), "index_weights": (10, 3),
    }  # fmt: skip
    assert attention_params(sparse, HIDDEN) == attention_params(MLA, HIDDEN) + 126 + 70 + 30 + 14
    assert kv_elements_per_token(sparse) == kv_elements_per_token(MLA)
    assert (sparse.q_heads, sparse.attended_tokens, sparse.window_tokens) == (4, 64, None)


def test_a_mamba_mixer_counts_by_hand() -> None:
    """in: z and x of 6, B and C of 2·2, one dt a head; convolution over x, B and C."""
    mamba = StateSpaceAttention(heads=3, head_dim=2, state=2, groups=1, conv=4)
    assert attention_matrices(mamba, HIDDEN) == {"in": (10, 6 + 6 + 4 + 3), "out": (6, 10)}
    assert attention_params(mamba, HIDDEN) == 190 + 60 + 10 * 5 + 3 * 3 + 6
    assert kv_elements_per_token(mamba) == 0
    assert recurrent_state_bytes(mamba) == 6 * 2 * 4
    assert conv_state_bytes(mamba) == 10 * 4 * 2
    assert mamba.q_heads == 3


def test_a_gated_delta_mixer_counts_by_hand() -> None:
    delta = GatedDeltaAttention(key_heads=2, value_heads=4, key_dim=3, value_dim=5, conv=4)
    channels = 2 * 6 + 20
    assert attention_matrices(delta, HIDDEN) == {
        "in": (10, channels + 20), "gates": (10, 8), "out": (20, 10),
    }  # fmt: skip
    assert attention_params(delta, HIDDEN) == 520 + 80 + 200 + channels * 4 + 8 + 5
    assert recurrent_state_bytes(delta) == 4 * 3 * 5 * 4
    assert kv_elements_per_token(delta) == 0


def test_an_output_gate_doubles_the_queries_but_not_what_comes_out() -> None:
    gated = attention_matrices(replace(GQA, output_gate=True), HIDDEN)
    assert gated["q"] == (10, 64)
    assert gated["o"] == attention_matrices(GQA, HIDDEN)["o"]


def test_what_a_layer_has_not_costs_nothing_not_even_a_norm() -> None:
    both = layer_params(Layer(GQA, DenseFfn(20)), HIDDEN)
    only_attention = layer_params(Layer(GQA, NoFfn()), HIDDEN)
    only_ffn = layer_params(Layer(NoAttention(), DenseFfn(20)), HIDDEN)
    assert only_attention == attention_params(GQA, HIDDEN) + HIDDEN
    assert only_attention + only_ffn == both
    assert layer_params(Layer(NoAttention(), NoFfn()), HIDDEN) == 0
    assert attention_matrices(NoAttention(), HIDDEN) == {}


def test_experts_in_a_latent_are_narrower_and_two_projections_lead_there_and_back() -> None:
    moe = MoeFfn(experts=8, top_k=2, width=5, shared_width=7, gated=False)
    narrow = replace(moe, latent=4)
    assert expert_params(narrow, 10) == 2 * 4 * 5
    assert latent_matrices(narrow, 10) == {"latent_down": (10, 4), "latent_up": (4, 10)}
    assert latent_matrices(moe, 10) == {}
    assert shared_params(narrow, 10) == shared_params(moe, 10) == 140
    assert router_params(narrow, 10) == router_params(moe, 10)
    assert ffn_params(narrow, 10) == 8 * 40 + 80 + 140 + 80
    assert shared_params(replace(moe, shared_gate=True), 10) == 150


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
