"""What the keys of each family's `config.json` mean for its layers.

An absent key takes the value that its absence means in `transformers` (no `num_key_value_heads`:
one per head); where families differ in that, the key is required.
"""

from __future__ import annotations

from collections.abc import Callable

from sim.catalog.config import Config
from sim.catalog.model import (
    Attention,
    DenseFfn,
    Ffn,
    GroupedAttention,
    LatentAttention,
    Layer,
    MoeFfn,
)

# --- attention ---------------------------------------------------------------------------------


def _grouped(
    config: Config,
    *,
    window: int | None = None,
    qkv_bias: bool = False,
    o_bias: bool = False,
    qk_norm: bool = False,
    sinks: bool = False,
) -> GroupedAttention:
    heads = config.whole("num_attention_heads")
    hidden = config.whole("hidden_size")
    kv_heads = config.whole("num_key_value_heads", default=heads)
    if heads % kv_heads:
        raise config.wrong("num_key_value_heads", f"a divisor of the {heads} attention heads")
    if not config.has("head_dim") and hidden % heads:
        raise config.wrong("head_dim", f"a whole number, as {hidden} / {heads} is none")
    head_dim = config.whole("head_dim", default=hidden // heads)
    return GroupedAttention(heads, kv_heads, head_dim, window, qkv_bias, o_bias, qk_norm, sinks)


def _latent(config: Config) -> LatentAttention:
    if config.flag("attention_bias", default=False):
        raise config.wrong("attention_bias", "false: biases of latent attention are not modelled")
    if config.has("sliding_window"):
        raise config.wrong("sliding_window", "none: latent attention is modelled without windows")
    return LatentAttention(
        q_heads=config.whole("num_attention_heads"),
        q_lora=config.whole("q_lora_rank") if config.has("q_lora_rank") else None,
        kv_lora=config.whole("kv_lora_rank"),
        nope_dim=config.whole("qk_nope_head_dim"),
        rope_dim=config.whole("qk_rope_head_dim"),
        v_dim=config.whole("v_head_dim"),
    )


def _windows(config: Config, by_rule: Callable[[int], bool]) -> list[int | None]:
    """Each layer's window: where `layer_types` says, else where the family's rule does."""
    count = config.whole("num_hidden_layers")
    used = config.flag("use_sliding_window", default=True)
    window = config.whole("sliding_window") if used and config.has("sliding_window") else None
    if not config.has("layer_types"):
        return [window if by_rule(i) else None for i in range(count)]
    types = config.words("layer_types")
    odd = set(types) - {"full_attention", "sliding_attention"}
    if len(types) != count or odd:
        raise config.wrong(
            "layer_types", f"{count} entries, each 'full_attention' or 'sliding_attention'"
        )
    if used and window is None and "sliding_attention" in types:
        raise config.wrong("sliding_window", "the size that 'sliding_attention' layers need")
    return [window if t == "sliding_attention" else None for t in types]


# --- feed-forward ------------------------------------------------------------------------------


def _dense(config: Config) -> DenseFfn:
    return DenseFfn(config.whole("intermediate_size"), bias=config.flag("mlp_bias", default=False))


def _moe(config: Config, width_key: str, *, bias: bool = False, choice: str = "greedy") -> MoeFfn:
    """The experts; `choice` is how they are chosen where `topk_method` does not say."""
    experts = config.whole("num_experts", "num_local_experts", "n_routed_experts")
    top_k = config.whole("num_experts_per_tok", "experts_per_token")
    if top_k > experts:
        key = "num_experts_per_tok" if config.has("num_experts_per_tok") else "experts_per_token"
        raise config.wrong(key, f"at most the {experts} experts")
    width = config.whole(width_key)
    shared = config.whole("n_shared_experts", default=0, least=0)
    corrected = config.word("topk_method", default=choice) == "noaux_tc"
    return MoeFfn(experts, top_k, width, shared * width, bias=bias, router_bias=corrected)


# --- families ----------------------------------------------------------------------------------


def _stack(attention: list[Attention], ffn: list[Ffn]) -> tuple[Layer, ...]:
    return tuple(Layer(a, f) for a, f in zip(attention, ffn, strict=True))


def _llama(config: Config) -> tuple[Layer, ...]:
    if config.has("sliding_window") and not config.has("layer_types"):
        raise config.wrong("sliding_window", "'layer_types' to say in which layers it holds")
    bias = config.flag("attention_bias", default=False)
    windows = _windows(config, lambda _: False)
    return _stack(
        [_grouped(config, window=w, qkv_bias=bias, o_bias=bias) for w in windows],
        [_dense(config)] * len(windows),
    )


def _mistral(config: Config) -> tuple[Layer, ...]:
    windows = _windows(config, lambda _: True)
    return _stack([_grouped(config, window=w) for w in windows], [_dense(config)] * len(windows))


def _mixtral(config: Config) -> tuple[Layer, ...]:
    windows = _windows(config, lambda _: True)
    experts = _moe(config, "intermediate_size")
    return _stack([_grouped(config, window=w) for w in windows], [experts] * len(windows))


def _qwen_windows(config: Config) -> list[int | None]:
    """Qwen's windows begin at layer `max_window_layers`, and only if `use_sliding_window`."""
    if not config.flag("use_sliding_window", default=False):
        return [None] * config.whole("num_hidden_layers")
    config.whole("sliding_window")
    first = 0
    if not config.has("layer_types"):
        first = config.whole("max_window_layers", least=0)
    return _windows(config, lambda i: i >= first)


def _qwen2(config: Config) -> tuple[Layer, ...]:
    windows = _qwen_windows(config)
    return _stack(
        [_grouped(config, window=w, qkv_bias=True) for w in windows],
        [_dense(config)] * len(windows),
    )


def _qwen3_attention(config: Config) -> list[Attention]:
    config.whole("head_dim")  # often not hidden / heads, so required
    bias = config.flag("attention_bias", default=False)
    return [
        _grouped(config, window=w, qkv_bias=bias, o_bias=bias, qk_norm=True)
        for w in _qwen_windows(config)
    ]


def _qwen3(config: Config) -> tuple[Layer, ...]:
    attention = _qwen3_attention(config)
    return _stack(attention, [_dense(config)] * len(attention))


def _qwen3_moe(config: Config) -> tuple[Layer, ...]:
    """Experts in every `decoder_sparse_step`-th layer, but not in `mlp_only_layers`."""
    attention = _qwen3_attention(config)
    step = config.whole("decoder_sparse_step", default=1)
    dense = set(config.wholes("mlp_only_layers"))
    sparse = [(i + 1) % step == 0 and i not in dense for i in range(len(attention))]
    return _stack(attention, _mixed(config, sparse))


def _deepseek_v2(config: Config) -> tuple[Layer, ...]:
    return _deepseek(config, choice="greedy")


def _deepseek_v3(config: Config) -> tuple[Layer, ...]:
    """V3's router always corrects its choice by a bias per expert (arXiv 2412.19437, §2.1.2)."""
    return _deepseek(config, choice="noaux_tc")


def _deepseek(config: Config, choice: str) -> tuple[Layer, ...]:
    """Experts in every `moe_layer_freq`-th layer from `first_k_dense_replace` on."""
    count = config.whole("num_hidden_layers")
    sparse = [False] * count
    if config.has("n_routed_experts"):
        first = config.whole("first_k_dense_replace", least=0)
        step = config.whole("moe_layer_freq", default=1)
        sparse = [i >= first and i % step == 0 for i in range(count)]
    return _stack([_latent(config)] * count, _mixed(config, sparse, choice))


def _mixed(config: Config, sparse: list[bool], choice: str = "greedy") -> list[Ffn]:
    """Experts where `sparse`, dense elsewhere; keys of a kind that does not occur go unread."""
    experts = None
    if any(sparse):
        experts = _moe(config, "moe_intermediate_size", choice=choice)
    dense = None if all(sparse) else _dense(config)
    chosen = [experts if s else dense for s in sparse]
    return [ffn for ffn in chosen if ffn is not None]


def _gpt_oss(config: Config) -> tuple[Layer, ...]:
    """Every other layer, from the first on, has a window; attention and experts have biases."""
    config.whole("head_dim")  # not hidden / heads, so required
    config.whole("sliding_window")
    bias = config.flag("attention_bias", default=True)
    windows = _windows(config, lambda i: i % 2 == 0)
    experts = _moe(config, "intermediate_size", bias=True)
    return _stack(
        [_grouped(config, window=w, qkv_bias=bias, o_bias=bias, sinks=True) for w in windows],
        [experts] * len(windows),
    )


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
    "gpt_oss": _gpt_oss,
}
"""The layers that a config describes, by its `model_type`."""
