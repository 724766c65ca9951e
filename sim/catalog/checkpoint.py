"""Bytes of a model's weights, stored once, in given number formats."""

from __future__ import annotations

from sim.catalog.counting import (
    attention_matrices,
    expert_params,
    ffn_params,
    kv_elements_per_token,
    layer_params,
    routed_params,
    router_params,
    total_params,
)
from sim.catalog.ffn import MoeFfn, NoFfn
from sim.catalog.formats import Format, load_format
from sim.catalog.model import Layer, Model


def checkpoint_bytes(model: Model, weights: Format, experts: Format | None = None) -> float:
    """Bytes of the weights without MTP layers: routed experts in `experts`, other matrices in
    `weights`; embedding, head, norms and routers in 16 bits, as published checkpoints keep them."""
    routed = routed_params(model)
    rest = sum(n * _plain_params(la, model.hidden) for la, n in model.layer_counts.items())
    wide = total_params(model) - routed - rest
    each = experts or weights
    return routed * each.bytes_per_element + rest * weights.bytes_per_element + wide * 2.0


def _plain_params(layer: Layer, hidden: int) -> int:
    """Parameters of a layer's matrices outside routed experts and router."""
    if layer.shared_weights:
        return 0
    shapes = attention_matrices(layer.attention, hidden).values()
    matrices = sum(rows * cols for rows, cols in shapes)
    if not isinstance(layer.ffn, MoeFfn):
        return matrices + ffn_params(layer.ffn, hidden)
    routed = layer.ffn.experts * expert_params(layer.ffn, hidden)
    return matrices + ffn_params(layer.ffn, hidden) - routed - router_params(layer.ffn, hidden)


def mtp_params(model: Model) -> int:
    """Parameters of the MTP layers alone: each the last attention with a KV cache, the last
    feed-forward, a projection of [embedding, hidden] (2d, d) and three norms (arXiv 2412.19437,
    section 2.2; Nemotron 3 Super: one attention and one MoE layer)."""
    if not model.mtp_layers:
        return 0
    attention = next(x for x in reversed(model.layers) if kv_elements_per_token(x.attention))
    ffn = next(x for x in reversed(model.layers) if not isinstance(x.ffn, NoFfn))
    block = layer_params(Layer(attention.attention, ffn.ffn), model.hidden)
    return model.mtp_layers * (block + 2 * model.hidden**2 + 3 * model.hidden)


def mtp_bytes(model: Model, fmt: Format | str) -> float:
    """Bytes that the MTP layers add to a checkpoint: their parameters in `fmt`, and the copies of
    embedding and head in 16 bits that DeepSeek's files hold for each of them."""
    stored = load_format(fmt) if isinstance(fmt, str) else fmt
    tables = 2 * model.vocab * model.hidden * 2.0
    return mtp_params(model) * stored.bytes_per_element + model.mtp_layers * tables
