"""Families whose layers differ in kind: states beside attention, layers with only one part, an
indexer before the attention, blocks found by architecture search."""

from __future__ import annotations

from collections.abc import Callable

from sim.catalog.attention import (
    Attention,
    GatedDeltaAttention,
    GroupedAttention,
    NoAttention,
    SparseLatentAttention,
    StateSpaceAttention,
)
from sim.catalog.blocks import (
    deepseek_ffns,
    dense_ffn,
    grouped_attention,
    latent_attention,
    moe_ffn,
    stack,
)
from sim.catalog.config import Config
from sim.catalog.ffn import DenseFfn, Ffn, NoFfn
from sim.catalog.model import Layer

# --- Nemotron-H and Nemotron 3 -----------------------------------------------------------------

_LETTERS = {"M": "mamba", "*": "attention", "E": "moe", "-": "mlp"}
"""Letters of `hybrid_override_pattern` and the words of `layers_block_type` for the same."""


def nemotron_h(config: Config) -> tuple[Layer, ...]:
    """Each layer is one mixer alone: Mamba-2, attention, experts or a dense feed-forward."""
    made: dict[str, Callable[[Config], Layer]] = {
        "mamba": lambda c: Layer(_mamba(c), NoFfn()),
        "attention": lambda c: Layer(grouped_attention(c), NoFfn()),
        "moe": lambda c: Layer(NoAttention(), _squared_experts(c)),
        "mlp": lambda c: Layer(NoAttention(), _squared_dense(c)),
    }
    order = _block_types(config)
    layers = {kind: made[kind](config) for kind in dict.fromkeys(order)}
    return tuple(layers[kind] for kind in order)


def _block_types(config: Config) -> list[str]:
    if config.has("layers_block_type"):
        order, key = config.words("layers_block_type"), "layers_block_type"
    else:
        key = "hybrid_override_pattern"
        order = [_LETTERS.get(letter, letter) for letter in config.word(key)]
    if set(order) - set(_LETTERS.values()):
        known = ", ".join(f"{letter} ({word})" for letter, word in _LETTERS.items())
        raise config.wrong(key, f"only layers of the kinds {known}")
    count = config.whole("num_hidden_layers", default=len(order))
    if len(order) != count or not order:
        raise config.wrong(key, f"{count} layers, as 'num_hidden_layers' says")
    return order


def _mamba(config: Config) -> StateSpaceAttention:
    if config.flag("mamba_proj_bias", default=False) or config.flag("use_bias", default=False):
        raise config.wrong("mamba_proj_bias", "false: biases of state layers are not modelled")
    widths = {"float32": 4.0, "bfloat16": 2.0, "float16": 2.0}
    cache = config.word("mamba_ssm_cache_dtype", default="float32")
    if cache not in widths:
        raise config.wrong("mamba_ssm_cache_dtype", f"one of {', '.join(widths)}")
    return StateSpaceAttention(
        heads=config.whole("mamba_num_heads"),
        head_dim=config.whole("mamba_head_dim"),
        state=config.whole("ssm_state_size"),
        groups=config.whole("n_groups"),
        conv=config.whole("conv_kernel"),
        state_bytes=widths[cache],
    )


def _squared(config: Config) -> bool:
    """Squared ReLU has no gate; the family knows nothing else."""
    if config.word("mlp_hidden_act", default="relu2") != "relu2":
        raise config.wrong("mlp_hidden_act", "relu2, the only activation of this family")
    return True


def _squared_dense(config: Config) -> Ffn:
    _squared(config)
    bias = config.flag("mlp_bias", default=False)
    return DenseFfn(config.whole("intermediate_size"), gated=False, bias=bias)


def _squared_experts(config: Config) -> Ffn:
    _squared(config)
    count = config.whole("n_shared_experts", default=0, least=0)
    shared = count * config.whole("moe_shared_expert_intermediate_size") if count else 0
    return moe_ffn(
        config, "moe_intermediate_size", shared_width=shared, gated=False, choice="noaux_tc"
    )


# --- Qwen3-Next --------------------------------------------------------------------------------


def qwen3_next(config: Config) -> tuple[Layer, ...]:
    """Gated DeltaNet in all but every `full_attention_interval`-th layer, whose attention has an
    output gate; experts everywhere, with a gated shared one."""
    count = config.whole("num_hidden_layers")
    every = config.whole("full_attention_interval", default=4)
    if config.wholes("mlp_only_layers") or config.whole("decoder_sparse_step", default=1) != 1:
        raise config.wrong("mlp_only_layers", "none, and experts in every layer")
    config.whole("head_dim")  # not hidden / heads, so required
    full = grouped_attention(config, qk_norm=True, output_gate=True)
    linear = GatedDeltaAttention(
        key_heads=config.whole("linear_num_key_heads"),
        value_heads=config.whole("linear_num_value_heads"),
        key_dim=config.whole("linear_key_head_dim"),
        value_dim=config.whole("linear_value_head_dim"),
        conv=config.whole("linear_conv_kernel_dim"),
    )
    shared = config.whole("shared_expert_intermediate_size")
    experts = moe_ffn(config, "moe_intermediate_size", shared_width=shared, shared_gate=True)
    kinds: list[Attention] = [full if (i + 1) % every == 0 else linear for i in range(count)]
    return stack(kinds, [experts] * count)


# --- DeepSeek-V3.2 -----------------------------------------------------------------------------


def deepseek_v32(config: Config) -> tuple[Layer, ...]:
    """DeepSeek-V3 with an indexer before the latent attention of every layer."""
    sparse = SparseLatentAttention(
        latent=latent_attention(config),
        index_heads=config.whole("index_n_heads"),
        index_dim=config.whole("index_head_dim"),
        index_topk=config.whole("index_topk"),
    )
    ffns = deepseek_ffns(config, choice="noaux_tc")
    return stack([sparse] * len(ffns), ffns)


# --- Puzzle ------------------------------------------------------------------------------------


def nemotron_nas(config: Config) -> tuple[Layer, ...]:
    """A Llama whose blocks were searched (Puzzle, arXiv 2411.19146; Llama-Nemotron 49B, 51B,
    253B): `block_configs` gives each block its KV heads and width, or leaves a part out."""
    count = config.whole("num_hidden_layers")
    blocks = config.sections("block_configs")
    if len(blocks) != count:
        raise config.wrong("block_configs", f"{count} blocks, as 'num_hidden_layers' says")
    attention = [_searched_attention(config, b.section("attention")) for b in blocks]
    return stack(attention, [_searched_ffn(config, b.section("ffn")) for b in blocks])


def _searched_attention(config: Config, block: Config) -> Attention:
    _no_linear(block)
    if block.flag("no_op", default=False):
        return NoAttention()
    if block.has("window_length") or block.has("num_sink_tokens"):
        raise block.wrong("window_length", "none: windows of searched blocks are not modelled")
    heads, hidden = config.whole("num_attention_heads"), config.whole("hidden_size")
    shared = block.whole("n_heads_in_group")
    if heads % shared:
        raise block.wrong("n_heads_in_group", f"a divisor of the {heads} attention heads")
    head_dim = config.whole("head_dim", default=hidden // heads)
    return GroupedAttention(heads, heads // shared, head_dim)


def _searched_ffn(config: Config, block: Config) -> Ffn:
    """`ffn_mult` f means a width of int(2/3 · f · hidden), rounded up to a multiple of 256."""
    _no_linear(block)
    if block.flag("no_op", default=False):
        return NoFfn()
    if not block.has("ffn_mult"):
        return dense_ffn(config)
    width = int(2 * block.number("ffn_mult") * config.whole("hidden_size") / 3)
    return DenseFfn(-(-width // 256) * 256)


def _no_linear(block: Config) -> None:
    if block.flag("replace_with_linear", default=False):
        raise block.wrong("replace_with_linear", "false: linear replacements are not modelled")
