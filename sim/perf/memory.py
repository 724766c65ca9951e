"""What fits: weights, activations and reserve on the fullest device, and what is left for KV."""

from __future__ import annotations

from dataclasses import dataclass
from math import gcd

from sim.catalog.counting import ffn_params, latent_params, router_params, shared_params
from sim.catalog.gpu import Gpu
from sim.catalog.model import Layer, Model, MoeFfn
from sim.errors import ScenarioError
from sim.perf.attentions import cost_of
from sim.perf.attentions.grouped import ACTIVATION_BYTES
from sim.perf.spread import Spread
from sim.perf.task import Formats
from sim.units import human_bytes

RESERVE_BYTES = 2.0e9
"""CUDA context, communication buffers and graphs. assumed: 2 GB per GPU."""


@dataclass(frozen=True, slots=True)
class KvGroup:
    """Layers whose KV cache grows alike."""

    cap_tokens: int | None
    """Most tokens that a sequence keeps in it (a sliding window, rounded up to whole blocks plus
    one); None = the whole context."""
    units: int
    """Units of the pool that one block of this group takes."""


@dataclass(frozen=True, slots=True)
class Memory:
    """Bytes on the fullest device of an engine, and the KV pool of one rank that they leave."""

    gpu_bytes: float
    weight_bytes: float
    activation_bytes: float
    reserve_bytes: float
    kv_bytes: float
    kv_bytes_per_token: float
    """Per device, all groups, while every window is still growing."""
    unit_bytes: float
    groups: tuple[KvGroup, ...]
    """The whole-context group first when there is one."""
    units: int
    """Capacity of the pool."""


def stage_weight_bytes(
    model: Model, spread: Spread, formats: Formats, stage: int, layers: tuple[Layer, ...]
) -> float:
    """Weights on one device of a stage (one of attention, where others do the feed-forward part),
    replicas included."""
    weights = formats.weights.bits / 8
    total = 0.0
    for layer in layers:
        matrices = cost_of(layer.attention).matrices(
            layer.attention, model.hidden, spread.attention_tp
        )
        total += weights * sum(
            i * o / (spread.output_parallel if name == "o" else 1)
            for name, (i, o) in matrices.items()
        )
        if not spread.ffn_devices:
            total += ffn_weight_bytes(model, spread, formats, (layer,))
        total += 2 * ACTIVATION_BYTES * model.hidden
    table = ACTIVATION_BYTES * model.vocab * model.hidden / spread.head_tp
    ends = (stage == 0) + (stage == spread.stages - 1)
    if model.tied_embeddings and spread.stages == 1:
        ends = 1
    return total + ends * table


def ffn_weight_bytes(
    model: Model, spread: Spread, formats: Formats, layers: tuple[Layer, ...]
) -> float:
    """Feed-forward weights of `layers` on one device that has them, replicas included."""
    weights, experts = formats.weights.bits / 8, formats.experts.bits / 8
    total = 0.0
    for layer in layers:
        whole = ffn_params(layer.ffn, model.hidden)
        if isinstance(layer.ffn, MoeFfn):
            shared = shared_params(layer.ffn, model.hidden)
            router = router_params(layer.ffn, model.hidden)
            latent = latent_params(layer.ffn, model.hidden)
            routed = whole - shared - router - latent
            total += experts * routed / (spread.expert_parallel * spread.expert_tp)
            total += weights * (shared / spread.ffn_tp + router + latent)
        else:
            total += weights * whole / spread.ffn_tp
    return total


def activation_bytes(model: Model, spread: Spread, tokens: int, sampled: int) -> float:
    """Peak of one pass: residual and feed-forward buffers of `tokens`, logits of `sampled`. Where
    devices divide the tokens of prompts, also keys and values of one layer from the others: two
    parts in flight round a ring, or all of them."""
    wide = 0.0 if spread.ffn_devices else 3 * _widest(model) / spread.ffn_tp
    groups = spread.token_parallel
    mine = -(-tokens // groups)
    logits = -(-sampled // groups) * model.vocab / spread.head_tp * 4.0
    whole = mine * ((4 * model.hidden + wide) * ACTIVATION_BYTES) + logits
    if groups == 1:
        return whole
    kept = max(_kept_by(layer, spread.attention_tp) for layer in model.layer_counts)
    return whole + (2 * mine if spread.sharing == "ring" else tokens) * kept


def ffn_activation_bytes(model: Model, spread: Spread, tokens: int) -> float:
    """Buffers of a device that does nothing but feed-forward layers, for one of the parts into
    which `tokens` of every rank are cut, all of them on the fullest group."""
    per_token = (2 * model.hidden + 3 * _widest(model) / spread.ffn_tp) * ACTIVATION_BYTES
    return -(-tokens * spread.ranks // spread.micro_batches) * per_token


def _widest(model: Model) -> int:
    """Numbers per token between the matrices of the widest feed-forward layer."""
    return max(
        layer.ffn.width * (layer.ffn.top_k if isinstance(layer.ffn, MoeFfn) else 1)
        for layer in model.layer_counts
    )


def _kept_by(layer: Layer, tp: int) -> float:
    """Bytes per token of keys and values of a layer on one device, as activations."""
    kept = cost_of(layer.attention).kept(layer.attention, tp, ACTIVATION_BYTES)
    return sum(k.bytes_per_token for k in kept)


def kv_groups(
    model: Model, spread: Spread, formats: Formats, block_tokens: int
) -> tuple[float, tuple[KvGroup, ...]]:
    """(bytes per unit, groups): per device, for the stage that keeps the most.

    A state that does not grow is a group of its own that keeps one block, of the state's size.
    """
    stages = [
        _kept_bits(layers, spread, formats, block_tokens) for layers in spread.stage_layers(model)
    ]
    fullest = max(stages, key=lambda s: sum(s.values()))
    unit = gcd(*fullest.values())
    order = sorted(fullest, key=lambda cap: (cap is not None, cap or 0))
    groups = tuple(
        KvGroup(
            cap_tokens=None
            if cap is None
            else (-(-cap // block_tokens) + (cap > 0)) * block_tokens or block_tokens,
            units=fullest[cap] // unit,
        )
        for cap in order
    )
    return unit / 8, groups


def _kept_bits(
    layers: tuple[Layer, ...], spread: Spread, formats: Formats, block_tokens: int
) -> dict[int | None, int]:
    """Cap in tokens (None = none, 0 = a state) → bits on one device that one block takes."""
    found: dict[int | None, float] = {}
    for layer in layers:
        a = layer.attention
        for kept in cost_of(a).kept(a, spread.attention_tp, formats.kv.bits / 8):
            if kept.bytes_per_sequence:
                found[0] = found.get(0, 0.0) + 8 * kept.bytes_per_sequence
            if kept.bytes_per_token:
                bits = 8 * kept.bytes_per_token * block_tokens / spread.kv_parallel
                found[kept.cap_tokens] = found.get(kept.cap_tokens, 0.0) + bits
    return {cap: max(1, round(bits)) for cap, bits in found.items()}


def fit(
    model: Model,
    spread: Spread,
    gpu: Gpu,
    formats: Formats,
    *,
    block_tokens: int,
    max_tokens: int,
    max_sampled: int,
    utilization: float,
) -> Memory:
    """Work out what is left for the KV cache; refused, with the arithmetic, when nothing is."""
    layers = spread.stage_layers(model)
    weights = max(stage_weight_bytes(model, spread, formats, i, x) for i, x in enumerate(layers))
    activations = activation_bytes(model, spread, max_tokens, max_sampled)
    usable = gpu.hbm_bytes * utilization
    _check_ffn_devices(model, spread, gpu, formats, max_tokens, usable)
    left = usable - weights - activations - RESERVE_BYTES
    unit_bytes, groups = kv_groups(model, spread, formats, block_tokens)
    units = int(left // unit_bytes)
    if units < sum(g.units for g in groups):
        short = "" if left <= 0 else ", less than one block of KV cache"
        raise ScenarioError(
            f"{model.name} does not fit on {gpu.name} as {spread.text}: "
            f"{human_bytes(usable)} usable ({human_bytes(gpu.hbm_bytes)} × {utilization}) "
            f"− {human_bytes(weights)} weights − {human_bytes(activations)} activations "
            f"− {human_bytes(RESERVE_BYTES)} reserve = {human_bytes(left)}{short}; "
            "use more devices per engine, a smaller format, a larger GPU or a higher "
            "gpu_memory_utilization"
        )
    per_block = sum(g.units for g in groups) * unit_bytes
    return Memory(
        gpu_bytes=gpu.hbm_bytes,
        weight_bytes=weights,
        activation_bytes=activations,
        reserve_bytes=RESERVE_BYTES,
        kv_bytes=left,
        kv_bytes_per_token=per_block / block_tokens,
        unit_bytes=unit_bytes,
        groups=groups,
        units=units,
    )


def _check_ffn_devices(
    model: Model, spread: Spread, gpu: Gpu, formats: Formats, tokens: int, usable: float
) -> None:
    """Refuse devices of feed-forward layers that their weights and buffers overfill."""
    if not spread.ffn_devices:
        return
    weights = ffn_weight_bytes(model, spread, formats, model.layers)
    buffers = ffn_activation_bytes(model, spread, tokens)
    if weights + buffers + RESERVE_BYTES > usable:
        raise ScenarioError(
            f"the feed-forward layers of {model.name} do not fit on {gpu.name} as {spread.text}: "
            f"{human_bytes(usable)} usable − {human_bytes(weights)} weights "
            f"− {human_bytes(buffers)} activations − {human_bytes(RESERVE_BYTES)} reserve < 0; "
            "use more ffn.ep or ffn.tp, a smaller format or a lower max_num_batched_tokens"
        )
