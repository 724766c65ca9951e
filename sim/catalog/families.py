"""What the keys of each family's `config.json` mean for its layers."""

from __future__ import annotations

from collections.abc import Callable

from sim.catalog.attention import Attention, GroupedAttention
from sim.catalog.blocks import (
    deepseek_ffns,
    dense_ffn,
    grouped_attention,
    latent_attention,
    layer_windows,
    mixed,
    moe_ffn,
    stack,
)
from sim.catalog.config import Config
from sim.catalog.ffn import DenseFfn
from sim.catalog.hybrids import deepseek_v32, nemotron_h, nemotron_nas, qwen3_next
from sim.catalog.model import Layer


def _llama(config: Config) -> tuple[Layer, ...]:
    if config.has("sliding_window") and not config.has("layer_types"):
        raise config.wrong("sliding_window", "'layer_types' to say in which layers it holds")
    bias = config.flag("attention_bias", default=False)
    windows = layer_windows(config, lambda _: False)
    return stack(
        [grouped_attention(config, window=w, qkv_bias=bias, o_bias=bias) for w in windows],
        [dense_ffn(config)] * len(windows),
    )


def _mistral(config: Config) -> tuple[Layer, ...]:
    windows = layer_windows(config, lambda _: True)
    return stack(
        [grouped_attention(config, window=w) for w in windows], [dense_ffn(config)] * len(windows)
    )


def _mixtral(config: Config) -> tuple[Layer, ...]:
    windows = layer_windows(config, lambda _: True)
    experts = moe_ffn(config, "intermediate_size")
    return stack([grouped_attention(config, window=w) for w in windows], [experts] * len(windows))


def _qwen_windows(config: Config) -> list[int | None]:
    """Qwen's windows begin at layer `max_window_layers`, and only if `use_sliding_window`."""
    if not config.flag("use_sliding_window", default=False):
        return [None] * config.whole("num_hidden_layers")
    config.whole("sliding_window")
    first = 0
    if not config.has("layer_types"):
        first = config.whole("max_window_layers", least=0)
    return layer_windows(config, lambda i: i >= first)


def _qwen2(config: Config) -> tuple[Layer, ...]:
    windows = _qwen_windows(config)
    return stack(
        [grouped_attention(config, window=w, qkv_bias=True) for w in windows],
        [dense_ffn(config)] * len(windows),
    )


def _qwen3_attention(config: Config) -> list[Attention]:
    config.whole("head_dim")  # often not hidden / heads, so required
    bias = config.flag("attention_bias", default=False)
    return [
        grouped_attention(config, window=w, qkv_bias=bias, o_bias=bias, qk_norm=True)
        for w in _qwen_windows(config)
    ]


def _qwen3(config: Config) -> tuple[Layer, ...]:
    attention = _qwen3_attention(config)
    return stack(attention, [dense_ffn(config)] * len(attention))


def _qwen3_moe(config: Config) -> tuple[Layer, ...]:
    """Experts in every `decoder_sparse_step`-th layer, but not in `mlp_only_layers`."""
    attention = _qwen3_attention(config)
    step = config.whole("decoder_sparse_step", default=1)
    dense = set(config.wholes("mlp_only_layers"))
    sparse = [(i + 1) % step == 0 and i not in dense for i in range(len(attention))]
    return stack(attention, mixed(config, sparse))


def _deepseek_v2(config: Config) -> tuple[Layer, ...]:
    ffns = deepseek_ffns(config, choice="greedy")
    return stack([latent_attention(config)] * len(ffns), ffns)


def _deepseek_v3(config: Config) -> tuple[Layer, ...]:
    """V3's router always corrects its choice by a bias per expert (arXiv 2412.19437, §2.1.2)."""
    ffns = deepseek_ffns(config, choice="noaux_tc")
    return stack([latent_attention(config)] * len(ffns), ffns)


def _gpt_oss(config: Config) -> tuple[Layer, ...]:
    """Every other layer, from the first on, has a window; attention and experts have biases."""
    config.whole("head_dim")  # not hidden / heads, so required
    config.whole("sliding_window")
    bias = config.flag("attention_bias", default=True)
    windows = layer_windows(config, lambda i: i % 2 == 0)
    experts = moe_ffn(config, "intermediate_size", bias=True)
    return stack(
        [
            grouped_attention(config, window=w, qkv_bias=bias, o_bias=bias, sinks=True)
            for w in windows
        ],
        [experts] * len(windows),
    )


def _bloom(config: Config) -> tuple[Layer, ...]:
    """Multi-head attention and an ungated feed-forward of four times the width, biases everywhere
    (arXiv 2211.05100)."""
    heads = config.whole("num_attention_heads", "n_head")
    hidden = config.whole("hidden_size", "n_embed")
    if hidden % heads:
        raise config.wrong("num_attention_heads", f"a divisor of the hidden size {hidden}")
    attention = GroupedAttention(heads, heads, hidden // heads, qkv_bias=True, o_bias=True)
    count = config.whole("num_hidden_layers", "n_layer")
    ffn = DenseFfn(4 * hidden, gated=False, bias=True)
    return stack([attention] * count, [ffn] * count)


def _opt(config: Config) -> tuple[Layer, ...]:
    """Multi-head attention and an ungated feed-forward of `ffn_dim` (arXiv 2205.01068)."""
    hidden = config.whole("hidden_size")
    if config.whole("word_embed_proj_dim", default=hidden) != hidden:
        raise config.wrong("word_embed_proj_dim", f"the hidden size, {hidden}")
    bias = config.flag("enable_bias", default=True)
    attention = grouped_attention(config, qkv_bias=bias, o_bias=bias)
    count = config.whole("num_hidden_layers")
    ffn = DenseFfn(config.whole("ffn_dim"), gated=False, bias=bias)
    return stack([attention] * count, [ffn] * count)


FAMILIES: dict[str, Callable[[Config], tuple[Layer, ...]]] = {
    "llama": _llama,
    "mistral": _mistral,
    "mixtral": _mixtral,
    "qwen2": _qwen2,
    "qwen3": _qwen3,
    "qwen3_moe": _qwen3_moe,
    "deepseek_v2": _deepseek_v2,
    "deepseek_v3": _deepseek_v3,
    "kimi_k2": _deepseek_v3,
    "deepseek_v32": deepseek_v32,
    "gpt_oss": _gpt_oss,
    "bloom": _bloom,
    "opt": _opt,
    "nemotron_h": nemotron_h,
    "nemotron-nas": nemotron_nas,
    "qwen3_next": qwen3_next,
}
"""The layers that a config describes, by its `model_type`."""

TIED_BY_DEFAULT = frozenset({"bloom", "opt"})
"""Families whose head is the embedding unless `tie_word_embeddings` says otherwise."""
