"""What the keys of a Hugging Face config mean, family by family, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from sim.catalog.counting import total_params
from sim.catalog.huggingface import architectures, read_model
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
)
from sim.errors import ScenarioError

LLAMA: dict[str, Any] = {
    "architectures": ["LlamaForCausalLM"],
    "hidden_size": 64,
    "num_hidden_layers": 4,
    "num_attention_heads": 8,
    "num_key_value_heads": 2,
    "intermediate_size": 128,
    "vocab_size": 1000,
    "max_position_embeddings": 2048,
}
MISTRAL = LLAMA | {"architectures": ["MistralForCausalLM"]}
MIXTRAL = LLAMA | {
    "architectures": ["MixtralForCausalLM"],
    "num_local_experts": 8,
    "num_experts_per_tok": 2,
}
QWEN2 = LLAMA | {"architectures": ["Qwen2ForCausalLM"]}
QWEN3 = LLAMA | {"architectures": ["Qwen3ForCausalLM"], "head_dim": 16}
QWEN3_MOE = QWEN3 | {
    "architectures": ["Qwen3MoeForCausalLM"],
    "num_experts": 16,
    "num_experts_per_tok": 4,
    "moe_intermediate_size": 32,
}
DEEPSEEK_V3 = LLAMA | {
    "architectures": ["DeepseekV3ForCausalLM"],
    "q_lora_rank": 24,
    "kv_lora_rank": 16,
    "qk_nope_head_dim": 8,
    "qk_rope_head_dim": 4,
    "v_head_dim": 8,
    "n_routed_experts": 16,
    "n_shared_experts": 2,
    "num_experts_per_tok": 4,
    "moe_intermediate_size": 32,
    "first_k_dense_replace": 1,
}
GPT_OSS = LLAMA | {
    "architectures": ["GptOssForCausalLM"],
    "head_dim": 16,
    "num_local_experts": 16,
    "experts_per_token": 4,
    "sliding_window": 128,
}
DEEPSEEK_V32 = DEEPSEEK_V3 | {
    "architectures": ["DeepseekV32ForCausalLM"],
    "index_n_heads": 4,
    "index_head_dim": 8,
    "index_topk": 2048,
}
BLOOM: dict[str, Any] = {
    "architectures": ["BloomForCausalLM"],
    "n_embed": 64,
    "n_layer": 4,
    "num_attention_heads": 8,
    "vocab_size": 1000,
    "seq_length": 2048,
}
OPT = {k: v for k, v in LLAMA.items() if k not in ("num_key_value_heads", "intermediate_size")} | {
    "architectures": ["OPTForCausalLM"],
    "ffn_dim": 256,
}
NEMOTRON_H = LLAMA | {
    "architectures": ["NemotronHForCausalLM"],
    "hybrid_override_pattern": "M*E-",
    "head_dim": 16,
    "mamba_num_heads": 6,
    "mamba_head_dim": 4,
    "ssm_state_size": 8,
    "n_groups": 2,
    "conv_kernel": 4,
    "n_routed_experts": 16,
    "num_experts_per_tok": 4,
    "moe_intermediate_size": 32,
    "n_shared_experts": 1,
    "moe_shared_expert_intermediate_size": 48,
}
QWEN3_NEXT = QWEN3_MOE | {
    "architectures": ["Qwen3NextForCausalLM"],
    "linear_num_key_heads": 2,
    "linear_num_value_heads": 4,
    "linear_key_head_dim": 8,
    "linear_value_head_dim": 16,
    "linear_conv_kernel_dim": 4,
    "shared_expert_intermediate_size": 48,
}


def searched_block(**changes: Any) -> dict[str, Any]:
    """A block of `block_configs` as published, with parts of its attention or ffn changed."""
    attention = {"n_heads_in_group": 4, "no_op": False, "replace_with_linear": False}
    ffn = {"ffn_mult": 1.5, "no_op": False, "replace_with_linear": False}
    return {
        "attention": attention | changes.get("attention", {}),
        "ffn": ffn | changes.get("ffn", {}),
    }


PUZZLE = LLAMA | {
    "architectures": ["DeciLMForCausalLM"],
    "hidden_size": 1024,
    "block_configs": [
        searched_block(),
        searched_block(attention={"no_op": True, "n_heads_in_group": None}),
        searched_block(ffn={"no_op": True, "ffn_mult": None}),
        searched_block(attention={"n_heads_in_group": 8}, ffn={"ffn_mult": 0.5}),
    ],
}


def read(folder: Path, config: dict[str, Any], **changes: Any) -> Model:
    path = folder / "config.json"
    path.write_text(json.dumps(config | changes))
    return read_model(path)


def refusal(folder: Path, config: dict[str, Any], **changes: Any) -> str:
    with pytest.raises(ScenarioError) as refused:
        read(folder, config, **changes)
    message = str(refused.value)
    assert str(folder / "config.json") in message
    assert "\n" not in message
    return message


def grouped(model: Model, layer: int = 0) -> GroupedAttention:
    attention = model.layers[layer].attention
    assert isinstance(attention, GroupedAttention)
    return attention


def experts(model: Model, layer: int = -1) -> MoeFfn:
    ffn = model.layers[layer].ffn
    assert isinstance(ffn, MoeFfn)
    return ffn


def windows(model: Model) -> list[int | None]:
    return [layer.attention.window_tokens for layer in model.layers]


def sparse(model: Model) -> list[bool]:
    return [isinstance(layer.ffn, MoeFfn) for layer in model.layers]


# --- llama and mistral -------------------------------------------------------------------------


def test_an_absent_head_dim_is_hidden_over_heads(tmp_path: Path) -> None:
    assert grouped(read(tmp_path, LLAMA)).head_dim == 8
    assert grouped(read(tmp_path, LLAMA, head_dim=32)).head_dim == 32


def test_absent_key_value_heads_mean_one_per_query_head(tmp_path: Path) -> None:
    attention = grouped(read(tmp_path, LLAMA, num_key_value_heads=None))
    assert attention.kv_heads == attention.q_heads == 8
    assert grouped(read(tmp_path, LLAMA)).kv_heads == 2


def test_a_llama_has_no_biases_unless_it_says_so(tmp_path: Path) -> None:
    plain = read(tmp_path, LLAMA)
    assert (grouped(plain).qkv_bias, grouped(plain).o_bias) == (False, False)
    assert plain.layers[0].ffn == DenseFfn(128)
    biased = read(tmp_path, LLAMA, attention_bias=True, mlp_bias=True)
    assert (grouped(biased).qkv_bias, grouped(biased).o_bias) == (True, True)
    assert biased.layers[0].ffn == DenseFfn(128, bias=True)


def test_tied_embeddings_are_read(tmp_path: Path) -> None:
    untied, tied = read(tmp_path, LLAMA), read(tmp_path, LLAMA, tie_word_embeddings=True)
    assert total_params(untied) - total_params(tied) == 1000 * 64


def test_rope_scaling_changes_nothing(tmp_path: Path) -> None:
    scaled = read(tmp_path, LLAMA, rope_scaling={"rope_type": "llama3", "factor": 8.0})
    assert scaled == read(tmp_path, LLAMA)


def test_a_mistral_window_holds_in_every_layer(tmp_path: Path) -> None:
    assert windows(read(tmp_path, MISTRAL, sliding_window=256)) == [256] * 4
    assert windows(read(tmp_path, MISTRAL, sliding_window=None)) == [None] * 4


def test_the_architecture_decides_before_the_model_type(tmp_path: Path) -> None:
    model = read(tmp_path, DEEPSEEK_V3, model_type="kimi_k2")
    assert model == read(tmp_path, DEEPSEEK_V3, model_type="deepseek_v3")


def test_without_architectures_the_model_type_decides(tmp_path: Path) -> None:
    by_type = read(tmp_path, DEEPSEEK_V3, architectures=None, model_type="kimi_k2")
    assert by_type == read(tmp_path, DEEPSEEK_V3)


# --- qwen --------------------------------------------------------------------------------------


def test_qwen2_has_biases_on_queries_keys_and_values_only(tmp_path: Path) -> None:
    attention = grouped(read(tmp_path, QWEN2))
    assert (attention.qkv_bias, attention.o_bias, attention.qk_norm) == (True, False, False)


def test_qwen3_normalises_queries_and_keys(tmp_path: Path) -> None:
    attention = grouped(read(tmp_path, QWEN3))
    assert (attention.qkv_bias, attention.o_bias, attention.qk_norm) == (False, False, True)


def test_a_qwen_window_needs_its_switch(tmp_path: Path) -> None:
    given = {"sliding_window": 256, "max_window_layers": 3}
    assert windows(read(tmp_path, QWEN2, **given)) == [None] * 4
    assert windows(read(tmp_path, QWEN2, use_sliding_window=False, **given)) == [None] * 4
    assert windows(read(tmp_path, QWEN2, use_sliding_window=True, **given)) == [None] * 3 + [256]


def test_a_qwen_window_without_a_size_or_a_first_layer_is_refused(tmp_path: Path) -> None:
    message = refusal(tmp_path, QWEN2, use_sliding_window=True, max_window_layers=3)
    assert "'sliding_window' is missing" in message
    message = refusal(tmp_path, QWEN2, use_sliding_window=True, sliding_window=256)
    assert "'max_window_layers' is missing" in message


def test_layer_types_say_which_layers_have_a_window(tmp_path: Path) -> None:
    types = ["sliding_attention", "full_attention", "full_attention", "sliding_attention"]
    expected = [256, None, None, 256]
    on = {"sliding_window": 256, "layer_types": types}
    assert windows(read(tmp_path, QWEN3, use_sliding_window=True, **on)) == expected
    assert windows(read(tmp_path, LLAMA, **on)) == expected


def test_qwen3_experts_come_every_step_and_not_where_only_dense_is(tmp_path: Path) -> None:
    assert sparse(read(tmp_path, QWEN3_MOE)) == [True] * 4
    assert sparse(read(tmp_path, QWEN3_MOE, decoder_sparse_step=2)) == [False, True, False, True]
    assert sparse(read(tmp_path, QWEN3_MOE, mlp_only_layers=[0, 2])) == [False, True, False, True]


def test_qwen3_experts_have_their_own_width(tmp_path: Path) -> None:
    model = read(tmp_path, QWEN3_MOE, mlp_only_layers=[0])
    assert model.layers[0].ffn == DenseFfn(128)
    assert model.layers[1].ffn == MoeFfn(experts=16, top_k=4, width=32)


# --- mixtral, gpt-oss, deepseek ----------------------------------------------------------------


def test_a_mixtral_expert_is_as_wide_as_intermediate_size(tmp_path: Path) -> None:
    assert experts(read(tmp_path, MIXTRAL)) == MoeFfn(experts=8, top_k=2, width=128)


def test_gpt_oss_alternates_windows_and_has_biases_and_sinks(tmp_path: Path) -> None:
    model = read(tmp_path, GPT_OSS)
    assert windows(model) == [128, None, 128, None]
    attention = grouped(model)
    assert (attention.qkv_bias, attention.o_bias, attention.sinks) == (True, True, True)
    assert experts(model) == MoeFfn(experts=16, top_k=4, width=128, bias=True)


def test_deepseek_v3_reads_latent_attention(tmp_path: Path) -> None:
    model = read(tmp_path, DEEPSEEK_V3)
    assert model.layers[0].attention == LatentAttention(
        q_heads=8, q_lora=24, kv_lora=16, nope_dim=8, rope_dim=4, v_dim=8
    )
    uncompressed = read(tmp_path, DEEPSEEK_V3, q_lora_rank=None).layers[0].attention
    assert isinstance(uncompressed, LatentAttention)
    assert uncompressed.q_lora is None


def test_deepseek_experts_begin_after_the_dense_layers(tmp_path: Path) -> None:
    assert sparse(read(tmp_path, DEEPSEEK_V3)) == [False, True, True, True]
    assert sparse(read(tmp_path, DEEPSEEK_V3, moe_layer_freq=2)) == [False, False, True, False]
    assert sparse(read(tmp_path, DEEPSEEK_V3, n_routed_experts=None)) == [False] * 4


def test_deepseek_shared_experts_widths_are_summed(tmp_path: Path) -> None:
    moe = experts(read(tmp_path, DEEPSEEK_V3))
    assert (moe.experts, moe.top_k, moe.width, moe.shared_width) == (16, 4, 32, 64)
    assert experts(read(tmp_path, DEEPSEEK_V3, n_shared_experts=None)).shared_width == 0


def test_only_v3_corrects_its_router_by_a_bias(tmp_path: Path) -> None:
    v2 = DEEPSEEK_V3 | {"architectures": ["DeepseekV2ForCausalLM"]}
    assert experts(read(tmp_path, DEEPSEEK_V3)).router_bias
    assert not experts(read(tmp_path, v2)).router_bias
    assert not experts(read(tmp_path, v2, topk_method="group_limited_greedy")).router_bias
    assert experts(read(tmp_path, v2, topk_method="noaux_tc")).router_bias


# --- bloom and opt -----------------------------------------------------------------------------


def test_bloom_and_opt_are_ungated_have_biases_and_tie_their_embeddings(tmp_path: Path) -> None:
    for config in (BLOOM, OPT):
        model = read(tmp_path, config)
        attention = grouped(model)
        assert attention.kv_heads == attention.q_heads == 8
        assert (attention.qkv_bias, attention.o_bias) == (True, True)
        assert model.layers[0].ffn == DenseFfn(256, gated=False, bias=True)
        assert (len(model.layers), model.hidden, model.max_context_tokens) == (4, 64, 2048)
        assert model.tied_embeddings
        assert not read(tmp_path, config, tie_word_embeddings=False).tied_embeddings


# --- hybrids -----------------------------------------------------------------------------------


def test_every_letter_of_the_pattern_is_a_layer_of_one_part(tmp_path: Path) -> None:
    mamba, attention, moe, dense = read(tmp_path, NEMOTRON_H).layers
    assert mamba == Layer(StateSpaceAttention(6, 4, 8, 2, 4), NoFfn())
    assert attention == Layer(GroupedAttention(8, 2, 16), NoFfn())
    assert moe.attention == dense.attention == NoAttention()
    assert moe.ffn == MoeFfn(16, 4, 32, shared_width=48, gated=False, router_bias=True)
    assert dense.ffn == DenseFfn(128, gated=False)


def test_the_order_may_be_a_list_of_words_without_a_count(tmp_path: Path) -> None:
    words = {"layers_block_type": ["mamba", "attention", "moe", "mlp"], "num_hidden_layers": None}
    changes = words | {"hybrid_override_pattern": None}
    assert read(tmp_path, NEMOTRON_H, **changes).layers == read(tmp_path, NEMOTRON_H).layers


def test_a_latent_and_the_states_width_are_read(tmp_path: Path) -> None:
    changes = {"moe_latent_size": 24, "mamba_ssm_cache_dtype": "bfloat16"}
    mamba, _, moe, _ = read(tmp_path, NEMOTRON_H, **changes).layers
    assert isinstance(moe.ffn, MoeFfn)
    assert moe.ffn.latent == 24
    assert isinstance(mamba.attention, StateSpaceAttention)
    assert mamba.attention.state_bytes == 2.0


def test_a_kinds_keys_are_only_needed_where_it_occurs(tmp_path: Path) -> None:
    changes = {"hybrid_override_pattern": "*-*-", "mamba_num_heads": None, "n_routed_experts": None}
    assert len(read(tmp_path, NEMOTRON_H, **changes).layers) == 4


def test_kimi_with_a_latent_is_a_deepseek_with_a_latent(tmp_path: Path) -> None:
    assert experts(read(tmp_path, DEEPSEEK_V3, moe_latent_size=16)).latent == 16


def test_qwen3_next_attends_in_every_fourth_layer_with_a_gate(tmp_path: Path) -> None:
    model = read(tmp_path, QWEN3_NEXT)
    linear = GatedDeltaAttention(key_heads=2, value_heads=4, key_dim=8, value_dim=16, conv=4)
    assert [layer.attention for layer in model.layers[:3]] == [linear] * 3
    assert grouped(model, 3).output_gate
    assert grouped(model, 3).qk_norm
    assert experts(model).shared_width == 48
    assert experts(model).shared_gate


def test_v3_2_puts_an_indexer_before_the_latent(tmp_path: Path) -> None:
    model = read(tmp_path, DEEPSEEK_V32)
    latent = read(tmp_path, DEEPSEEK_V3).layers[0].attention
    assert isinstance(latent, LatentAttention)
    assert model.layers[0].attention == SparseLatentAttention(latent, 4, 8, 2048)
    assert sparse(model) == [False, True, True, True]


def test_searched_blocks_differ_in_kv_heads_and_width_and_lack_parts(tmp_path: Path) -> None:
    """Width int(2/3 · mult · 1024), up to a multiple of 256: 1.5 → 1024, 0.5 → 341 → 512."""
    whole, no_attention, no_ffn, narrow = read(tmp_path, PUZZLE).layers
    assert whole == Layer(GroupedAttention(8, 2, 128), DenseFfn(1024))
    assert no_attention == Layer(NoAttention(), DenseFfn(1024))
    assert no_ffn == Layer(GroupedAttention(8, 2, 128), NoFfn())
    assert narrow == Layer(GroupedAttention(8, 1, 128), DenseFfn(512))


@pytest.mark.parametrize(
    "block, words",
    (
        (searched_block(ffn={"replace_with_linear": True}), "linear replacements are not modelled"),
        (
            searched_block(attention={"n_heads_in_group": 3}),
            "expected a divisor of the 8 attention",
        ),
        (searched_block(attention={"window_length": 64}), "windows of searched blocks"),
        (searched_block(ffn={"ffn_mult": "wide"}), "expected a positive number"),
    ),
)
def test_a_searched_block_that_is_not_modelled_is_refused_by_its_number(
    tmp_path: Path, block: dict[str, Any], words: str
) -> None:
    message = refusal(tmp_path, PUZZLE, block_configs=[searched_block()] * 3 + [block])
    assert "'block_configs' 3" in message
    assert words in message


# --- number formats ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "keys, expected",
    (
        ({}, ("bf16", None)),
        ({"torch_dtype": "float16"}, ("fp16", None)),
        ({"dtype": "float32"}, ("fp32", None)),
        ({"quantization_config": {"quant_method": "fp8"}}, ("fp8", None)),
        ({"quantization_config": {"quant_method": "mxfp4"}}, ("bf16", "mxfp4")),
        ({"quantization_config": {"quant_method": "awq", "bits": 4}}, ("int4", None)),
        ({"quantization_config": {"quant_method": "gptq", "bits": 8}}, ("int8", None)),
        (
            {"quantization_config": {"quant_method": "awq", "bits": 4, "group_size": 128}},
            ("int4_g128_zp", None),
        ),
        (
            {"quantization_config": {"quant_method": "gptq", "bits": 3, "group_size": 64}},
            ("int3_g64", None),
        ),
        (
            {"quantization_config": {"quant_method": "gptq", "bits": 4, "group_size": -1}},
            ("int4", None),
        ),
    ),
)
def test_the_published_format_is_read(
    tmp_path: Path, keys: dict[str, Any], expected: tuple[str, str | None]
) -> None:
    model = read(tmp_path, LLAMA, **keys)
    assert (model.weight_format, model.expert_format) == expected


@pytest.mark.parametrize(
    "block, words",
    (
        ({"quant_method": "compressed-tensors"}, "'quant_method' is \"compressed-tensors\""),
        ({"quant_method": "gptq", "bits": 3}, "'bits' is 3; expected 4 or 8 where there is no"),
        ({"quant_method": "awq"}, "'bits' is missing"),
        ({}, "'quant_method' is missing"),
        ("fp8", "'quantization_config' is \"fp8\"; expected a group of keys"),
    ),
)
def test_an_unknown_quantization_is_refused(tmp_path: Path, block: Any, words: str) -> None:
    assert words in refusal(tmp_path, LLAMA, quantization_config=block)


# --- refusals ----------------------------------------------------------------------------------


def test_an_unknown_architecture_is_refused_with_those_known(tmp_path: Path) -> None:
    message = refusal(tmp_path, LLAMA, architectures=["JambaForCausalLM"])
    assert "architecture 'JambaForCausalLM' is not known" in message
    assert all(name in message for name in architectures())


def test_an_unknown_model_type_is_refused_with_a_suggestion(tmp_path: Path) -> None:
    message = refusal(tmp_path, LLAMA, architectures=None, model_type="qwen3_mo")
    assert "model_type 'qwen3_mo' is not known; did you mean 'qwen3_moe'" in message


@pytest.mark.parametrize(
    "config, changes, words",
    (
        (LLAMA, {"hidden_size": None}, "'hidden_size' is missing; expected a whole number"),
        (LLAMA, {"hidden_size": "4096"}, "'hidden_size' is \"4096\"; expected a whole number"),
        (LLAMA, {"hidden_size": 64.5}, "'hidden_size' is 64.5; expected a whole number"),
        (LLAMA, {"num_hidden_layers": True}, "'num_hidden_layers' is true; expected a whole"),
        (LLAMA, {"vocab_size": 0}, "'vocab_size' is 0; expected a whole number, 1 or more"),
        (LLAMA, {"num_key_value_heads": 3}, "'num_key_value_heads' is 3; expected a divisor"),
        (LLAMA, {"hidden_size": 65}, "'head_dim' is missing"),
        (LLAMA, {"tie_word_embeddings": 1}, "'tie_word_embeddings' is 1; expected true or false"),
        (LLAMA, {"architectures": "LlamaForCausalLM"}, "expected a list of texts"),
        (LLAMA, {"architectures": None}, "'model_type' is missing"),
        (LLAMA, {"torch_dtype": "int3"}, "'torch_dtype' is \"int3\"; expected one of bfloat16"),
        (LLAMA, {"sliding_window": 128}, "'sliding_window' is 128; expected 'layer_types'"),
        (LLAMA, {"layer_types": ["full_attention"] * 3}, "expected 4 entries"),
        (LLAMA, {"layer_types": ["linear_attention"] * 4}, "'layer_types' is"),
        (LLAMA, {"layer_types": ["sliding_attention"] * 4}, "'sliding_window' is missing"),
        (LLAMA, {"attention_chunk_size": 8192}, "models with it are not modelled"),
        (QWEN3, {"head_dim": None}, "'head_dim' is missing"),
        (QWEN3_MOE, {"mlp_only_layers": ["0"]}, "expected a list of whole numbers"),
        (QWEN3_MOE, {"mlp_only_layers": 0}, "expected a list of whole numbers"),
        (QWEN3_MOE, {"num_experts_per_tok": 17}, "'num_experts_per_tok' is 17; expected at most"),
        (MIXTRAL, {"num_local_experts": None}, "'num_experts' is missing"),
        (MIXTRAL, {"num_experts": 9}, "'num_local_experts' is 8; expected the same as 'num_exp"),
        (GPT_OSS, {"sliding_window": None}, "'sliding_window' is missing"),
        (GPT_OSS, {"experts_per_token": 17}, "'experts_per_token' is 17; expected at most the 16"),
        (DEEPSEEK_V3, {"kv_lora_rank": None}, "'kv_lora_rank' is missing"),
        (DEEPSEEK_V3, {"first_k_dense_replace": None}, "'first_k_dense_replace' is missing"),
        (DEEPSEEK_V3, {"attention_bias": True}, "biases of latent attention are not modelled"),
        (DEEPSEEK_V3, {"sliding_window": 4096}, "latent attention is modelled without windows"),
        (DEEPSEEK_V3, {"index_topk": 2048}, "'index_topk' is 2048"),
        (DEEPSEEK_V32, {"index_topk": None}, "'index_topk' is missing"),
        (LLAMA, {"moe_latent_size": 64}, "models with it are not modelled"),
        (BLOOM, {"num_attention_heads": 7}, "expected a divisor of the hidden size 64"),
        (BLOOM, {"seq_length": None}, "'max_position_embeddings' is missing"),
        (OPT, {"word_embed_proj_dim": 32}, "expected the hidden size, 64"),
        (OPT, {"ffn_dim": None}, "'ffn_dim' is missing"),
        (NEMOTRON_H, {"hybrid_override_pattern": "M*E"}, "expected 4 layers"),
        (NEMOTRON_H, {"hybrid_override_pattern": "M*EX"}, "only layers of the kinds M (mamba)"),
        (NEMOTRON_H, {"hybrid_override_pattern": None}, "'hybrid_override_pattern' is missing"),
        (NEMOTRON_H, {"mlp_hidden_act": "silu"}, "expected relu2"),
        (NEMOTRON_H, {"mamba_proj_bias": True}, "biases of state layers are not modelled"),
        (NEMOTRON_H, {"mamba_ssm_cache_dtype": "int8"}, "expected one of float32"),
        (NEMOTRON_H, {"ssm_state_size": None}, "'ssm_state_size' is missing"),
        (QWEN3_NEXT, {"mlp_only_layers": [0]}, "experts in every layer"),
        (QWEN3_NEXT, {"linear_key_head_dim": None}, "'linear_key_head_dim' is missing"),
        (PUZZLE, {"block_configs": []}, "expected 4 blocks"),
        (PUZZLE, {"block_configs": [1] * 4}, "expected a list of groups of keys"),
    ),
)
def test_a_wrong_key_is_refused_with_file_key_and_what_is_expected(
    tmp_path: Path, config: dict[str, Any], changes: dict[str, Any], words: str
) -> None:
    assert words in refusal(tmp_path, config, **changes)


@pytest.mark.parametrize(
    "text, words",
    (
        ('{"hidden_size": 64,', "is not valid JSON: Expecting property name"),
        ("", "is not valid JSON"),
        ("[1, 2]", "is a group of keys, not a list"),
    ),
)
def test_a_torn_json_is_refused_by_name(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "config.json"
    path.write_text(text)
    with pytest.raises(ScenarioError) as refused:
        read_model(path)
    assert words in str(refused.value)
    assert str(path) in str(refused.value)
