"""What the keys that many families share mean: attention, windows, feed-forward, experts.

An absent key takes the value that its absence means in `transformers` (no `num_key_value_heads`:
one per head); where families differ in that, the key is required.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from sim.catalog.attention import Attention, GroupedAttention, LatentAttention
from sim.catalog.config import Config
from sim.catalog.ffn import DenseFfn, Ffn, MoeFfn
from sim.catalog.model import Layer

# --- attention ---------------------------------------------------------------------------------


def grouped_attention(
    config: Config,
    *,
    window: int | None = None,
    qkv_bias: bool = False,
    o_bias: bool = False,
    qk_norm: bool = False,
    sinks: bool = False,
    output_gate: bool = False,
) -> GroupedAttention:
    """Multi-head, grouped-query or multi-query attention; `head_dim` defaults to hidden / heads."""
    heads = config.whole("num_attention_heads")
    hidden = config.whole("hidden_size")
    kv_heads = config.whole("num_key_value_heads", default=heads)
    if heads % kv_heads:
        raise config.wrong("num_key_value_heads", f"a divisor of the {heads} attention heads")
    if not config.has("head_dim") and hidden % heads:
        raise config.wrong("head_dim", f"a whole number, as {hidden} / {heads} is none")
    head_dim = config.whole("head_dim", default=hidden // heads)
    return GroupedAttention(
        heads, kv_heads, head_dim, window, qkv_bias, o_bias, qk_norm, sinks, output_gate
    )


def latent_attention(config: Config) -> LatentAttention:
    """Latent attention, without biases and windows."""
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


def layer_windows(config: Config, by_rule: Callable[[int], bool]) -> list[int | None]:
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


def dense_ffn(config: Config) -> DenseFfn:
    """A gated feed-forward of `intermediate_size`."""
    return DenseFfn(config.whole("intermediate_size"), bias=config.flag("mlp_bias", default=False))


def moe_ffn(
    config: Config,
    width_key: str,
    *,
    shared_width: int | None = None,
    bias: bool = False,
    gated: bool = True,
    shared_gate: bool = False,
    choice: str = "greedy",
) -> MoeFfn:
    """The experts. `shared_width` is that of all shared experts, where the family has a key for
    it (else as wide as routed ones); `choice` how experts are chosen where `topk_method` does not
    say. `moe_latent_size` (LatentMoE) means the same in every family."""
    experts = config.whole("num_experts", "num_local_experts", "n_routed_experts")
    top_k = config.whole("num_experts_per_tok", "experts_per_token")
    if top_k > experts:
        key = "num_experts_per_tok" if config.has("num_experts_per_tok") else "experts_per_token"
        raise config.wrong(key, f"at most the {experts} experts")
    width = config.whole(width_key)
    if shared_width is None:
        shared_width = config.whole("n_shared_experts", default=0, least=0) * width
    return MoeFfn(
        experts,
        top_k,
        width,
        shared_width,
        gated=gated,
        bias=bias,
        router_bias=config.word("topk_method", default=choice) == "noaux_tc",
        latent=config.whole("moe_latent_size") if config.has("moe_latent_size") else None,
        shared_gate=shared_gate,
    )


def stack(attention: Sequence[Attention], ffn: Sequence[Ffn]) -> tuple[Layer, ...]:
    """Layers of which each has its attention and its feed-forward."""
    return tuple(Layer(a, f) for a, f in zip(attention, ffn, strict=True))


def mixed(config: Config, sparse: list[bool], choice: str = "greedy") -> list[Ffn]:
    """Experts where `sparse`, dense elsewhere; keys of a kind that does not occur go unread."""
    experts = None
    if any(sparse):
        experts = moe_ffn(config, "moe_intermediate_size", choice=choice)
    dense = None if all(sparse) else dense_ffn(config)
    chosen = [experts if s else dense for s in sparse]
    return [ffn for ffn in chosen if ffn is not None]


def deepseek_ffns(config: Config, choice: str) -> list[Ffn]:
    """Experts in every `moe_layer_freq`-th layer from `first_k_dense_replace` on."""
    count = config.whole("num_hidden_layers")
    sparse = [False] * count
    if config.has("n_routed_experts"):
        first = config.whole("first_k_dense_replace", least=0)
        step = config.whole("moe_layer_freq", default=1)
        sparse = [i >= first and i % step == 0 for i in range(count)]
    return mixed(config, sparse, choice)
