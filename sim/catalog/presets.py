"""Changes of architecture that papers propose, as functions from a model to a model.

Nothing here touches time: a preset changes what the layers say (kinds, widths, shares, streams),
and whoever prices them reads that.

| preset | what changes |
|---|---|
| `with_layers` | depth: the last kind of layer repeated or cut |
| `with_latent_experts` | routed experts in a narrower space (LatentMoE) |
| `searched` | single blocks without attention, without or with a narrower feed-forward (Puzzle) |
| `parallel_scaling` | every token in P streams: tokens per step, KV and states × P, weights once |
| `mixture_of_recursions` | layers repeated with shared weights, each repeat for fewer tokens |
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Literal

from sim.catalog.attention import NoAttention
from sim.catalog.ffn import DenseFfn, MoeFfn, NoFfn
from sim.catalog.latent_moe import Variant, latent_moe
from sim.catalog.model import Layer, Model
from sim.errors import ScenarioError


def with_layers(model: Model, layers: int) -> Model:
    """`model` with `layers` layers: the last layer is repeated, or the last ones are left out.

    Kimi-K2 with 80 layers for 61 has 1.35 × 10¹² parameters (arXiv 2601.18089, section 4.3.1).
    """
    if layers < 1:
        raise ScenarioError(f"layers: {layers} is no depth; write 1 or more")
    more = max(0, layers - len(model.layers))
    kept = model.layers[:layers] + (model.layers[-1],) * more
    return replace(model, name=f"{model.name}-{layers}layers", layers=kept)


def with_latent_experts(model: Model, alpha: int, variant: Variant = "accuracy") -> Model:
    """`model` with the routed experts of every MoE layer in a latent of hidden / alpha
    (`latent_moe`). Stored expert parameters stay; 2·d·ℓ a layer come in for the projections."""
    if not any(isinstance(layer.ffn, MoeFfn) for layer in model.layers):
        raise ScenarioError(f"latent experts: {model.name} has no experts; take an MoE model")
    layers = tuple(
        replace(layer, ffn=latent_moe(layer.ffn, model.hidden, alpha, variant))
        if isinstance(layer.ffn, MoeFfn)
        else layer
        for layer in model.layers
    )
    return replace(model, name=f"{model.name}-latent{alpha}", layers=layers)


def searched(
    model: Model,
    *,
    without_attention: Sequence[int] = (),
    ffn_widths: Mapping[int, int] | None = None,
) -> Model:
    """`model` with single blocks changed, as architecture search does (Puzzle, arXiv 2411.19146).

    Layers of `without_attention` lose attention, its norm and their KV; `ffn_widths` gives dense
    feed-forwards another width, 0 taking feed-forward and norm out. KV and operations are sums
    over layers, so nothing else changes. A `config.json` says the same with `block_configs`.
    """
    widths = ffn_widths or {}
    for index in (*without_attention, *widths):
        if not 0 <= index < len(model.layers):
            raise ScenarioError(
                f"layer {index} is none of {model.name}, which has 0 to {len(model.layers) - 1}"
            )
    layers = list(model.layers)
    for index in without_attention:
        layers[index] = replace(layers[index], attention=NoAttention())
    for index, width in widths.items():
        layers[index] = _with_width(model, layers[index], index, width)
    return replace(model, name=f"{model.name}-searched", layers=tuple(layers))


def _with_width(model: Model, layer: Layer, index: int, width: int) -> Layer:
    if width == 0:
        return replace(layer, ffn=NoFfn())
    if width < 0 or not isinstance(layer.ffn, DenseFfn):
        raise ScenarioError(
            f"ffn_widths: layer {index} of {model.name} cannot get a feed-forward of {width}; "
            "only dense ones change width, to 0 or more"
        )
    return replace(layer, ffn=replace(layer.ffn, width=width))


def parallel_scaling(model: Model, streams: int) -> Model:
    """`model` computing every token in `streams` parallel streams (ParScale, arXiv 2505.10475).

    Each stream has a KV cache of its own and passes through the same weights, so a step has
    `streams` times the tokens. Left out: the learned prefix of each stream and the small network
    that adds their outputs up (0.2 % of the parameters).
    """
    if streams < 1:
        raise ScenarioError(f"streams: {streams} is not possible; write 1 or more")
    return replace(model, name=f"{model.name}-p{streams}", streams=model.streams * streams)


def mixture_of_recursions(
    model: Model,
    first: int,
    last: int,
    depth_shares: Sequence[float],
    kv: Literal["per_recursion", "shared"] = "per_recursion",
) -> Model:
    """`model` with layers `first` to `last` (inclusive) applied 1 to R times per token by a router
    (arXiv 2507.10524).

    `depth_shares[r - 1]` is the fraction of tokens that take r recursions. Recursion j is seen by
    the tokens with r >= j and uses the stack's weights again. Its KV is that of those tokens only
    (`per_recursion`), or none of its own, reading the first recursion's (`shared`). Left out: the
    router, d parameters a recursion.
    """
    if not 0 <= first <= last < len(model.layers):
        raise ScenarioError(
            f"recursion: layers {first} to {last} are none of {model.name}, which has layers 0 to "
            f"{len(model.layers) - 1}"
        )
    if not depth_shares or min(depth_shares) < 0 or abs(sum(depth_shares) - 1.0) > 1e-9:
        raise ScenarioError(
            f"depth_shares: {list(depth_shares)} must be fractions of tokens that add up to 1"
        )
    stack = model.layers[first : last + 1]
    middle: list[Layer] = []
    for recursion in range(len(depth_shares)):
        share = min(1.0, sum(depth_shares[recursion:]))
        kept = share if recursion == 0 or kv == "per_recursion" else 0.0
        middle += [_recursion(layer, share, kept, again=recursion > 0) for layer in stack]
    layers = (*model.layers[:first], *middle, *model.layers[last + 1 :])
    return replace(model, name=f"{model.name}-mor{len(depth_shares)}", layers=layers)


def _recursion(layer: Layer, share: float, kept: float, again: bool) -> Layer:
    return replace(
        layer,
        token_share=layer.token_share * share,
        kv_share=layer.kv_share * kept,
        shared_weights=layer.shared_weights or again,
    )
