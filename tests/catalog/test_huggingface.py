"""What the keys of a Hugging Face config mean, family by family, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from sim.catalog.counting import total_params
from sim.catalog.huggingface import architectures, read_model
from sim.catalog.model import DenseFfn, GroupedAttention, LatentAttention, Model, MoeFfn
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
        ({"quant_method": "gptq", "bits": 3}, "'quant_method' is \"gptq\""),
        ({"quant_method": "awq"}, "'bits' is missing"),
        ({}, "'quant_method' is missing"),
        ("fp8", "'quantization_config' is \"fp8\"; expected a group of keys"),
    ),
)
def test_an_unknown_quantization_is_refused(tmp_path: Path, block: Any, words: str) -> None:
    assert words in refusal(tmp_path, LLAMA, quantization_config=block)


# --- refusals ----------------------------------------------------------------------------------


def test_an_unknown_architecture_is_refused_with_those_known(tmp_path: Path) -> None:
    message = refusal(tmp_path, LLAMA, architectures=["DeepseekV32ForCausalLM"], index_topk=2048)
    assert "architecture 'DeepseekV32ForCausalLM' is not known" in message
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
