"""Tokens to their experts and back: a plain all-to-all, or the libraries made for it where they
were measured (`sim.perf.surfaces.dispatch`)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from sim.network.collectives import Collectives, Group
from sim.perf.attentions.grouped import ACTIVATION_BYTES
from sim.perf.fitted import Shelf
from sim.perf.layer_work import Exchange
from sim.perf.surfaces.dispatch import ONE_SIDED, Dispatch

Array = NDArray[np.float64]

LOW_LATENCY_TOKENS = 128
"""Most tokens of a device that go in low-latency mode: its buffers are made for so many (DeepEP's
README: 128 in production decoding; SGLang's and vLLM's defaults are of this order)."""
NODE = 8
"""Most GPUs of a scale-up domain that is a node and not a rack."""


def all_to_all_seconds(tokens: Array, exchange: Exchange, among: Collectives) -> Array:
    """Seconds of one way: every token once to each other device that has one of its experts."""
    nbytes = tokens * exchange.bytes_per_token
    if exchange.node_limit is not None and exchange.routed is not None:
        top_k = exchange.routed.ffn.top_k
        nbytes = nbytes * limited(among.group, top_k, exchange.node_limit)
    return among.all_to_all_s(nbytes)


def limited(group: Group, top_k: int, node_limit: int) -> float:
    """Devices that a token reaches where its experts are drawn from `node_limit` domains, over
    those that it reaches when they are drawn from all; independent draws."""
    if node_limit >= group.domains:
        return 1.0
    n = group.size
    fewer = n * node_limit / group.domains
    reached = fewer * (1.0 - (1.0 - 1.0 / fewer) ** top_k)
    return float(reached / (n * (1.0 - (1.0 - 1.0 / n) ** top_k)))


def fitted_seconds(shelf: Shelf, tokens: Array, exchange: Exchange, among: Collectives) -> Array:
    """Seconds of one way: one-sided within a rack; DeepEP in low-latency mode for few tokens and in
    normal mode for many; an all-to-all where neither was measured."""
    if shelf.gpu.scale_up_domain > NODE and among.group.domains == 1:
        found = shelf.find("dispatch", "one_sided")
        surface = ONE_SIDED if found.fitted is None else found.surface
        return _by_surface(surface, tokens, exchange, among.group)
    quick, steady = (shelf.find("dispatch", f"deepep_{m}") for m in ("low_latency", "normal"))
    if quick.fitted is None or steady.fitted is None:
        return all_to_all_seconds(tokens, exchange, among)
    few = tokens * exchange.tokens_per_device <= LOW_LATENCY_TOKENS
    low = _by_surface(quick.surface, tokens, exchange, among.group)
    return np.where(few, low, _by_surface(steady.surface, tokens, exchange, among.group))


def _by_surface(surface: Dispatch, tokens: Array, exchange: Exchange, group: Group) -> Array:
    routed = exchange.routed
    if routed is None:
        return np.zeros_like(tokens)
    there = exchange.operation == "dispatch"
    way = surface.dispatch_seconds if there else surface.combine_seconds
    return way(
        tokens * exchange.tokens_per_device,
        group,
        hidden=routed.hidden,
        top_k=routed.ffn.top_k,
        experts=routed.ffn.experts,
        bytes_per_value=routed.dispatch_bytes if there else ACTIVATION_BYTES,
        max_domains=exchange.node_limit,
    )
