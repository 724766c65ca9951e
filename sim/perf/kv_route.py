"""Which bytes of a KV cache go from which device to which: the shards of one layout cut out of the
shards of another."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

from sim.catalog.model import (
    GatedDeltaAttention,
    GroupedAttention,
    Model,
    NoAttention,
    StateSpaceAttention,
)
from sim.perf.attentions import cost_of
from sim.perf.spread import Spread
from sim.perf.task import Formats

_WITHOUT_HEADS = (StateSpaceAttention, GatedDeltaAttention, NoAttention)
"""Kinds without KV heads; a state is divided like the KV of the layers that have them."""


class Placed(Protocol):
    """Engines of one pool that have their devices."""

    @property
    def model(self) -> Model:
        """What they serve."""

    @property
    def spread(self) -> Spread:
        """How it is divided."""

    @property
    def formats(self) -> Formats:
        """The KV cache's among them."""

    @property
    def devices(self) -> tuple[tuple[int, ...], ...]:
        """By engine."""


@dataclass(frozen=True, slots=True)
class _Shard:
    """What one device of a rank holds: layers and a share [low, high) of their heads."""

    device: int
    stage: int
    low: float
    high: float
    replica: int


@dataclass(frozen=True, slots=True)
class KvRoute:
    """Pairs of devices and the bytes that all of them move together."""

    pairs: tuple[tuple[int, int], ...]
    per_token: tuple[tuple[int | None, float], ...]
    """(window or None, bytes per token) for each kind of layer."""

    def nbytes(self, tokens: int) -> float:
        """Bytes of the KV of a sequence of `tokens` tokens, copies for every replica included."""
        return sum(b * (tokens if cap is None else min(tokens, cap)) for cap, b in self.per_token)


def kv_route(
    src: Placed, src_engine: int, src_rank: int, dst: Placed, dst_engine: int, dst_rank: int
) -> KvRoute:
    """The route between a rank of an engine of `src` and one of `dst`; indices in the pools."""
    model = src.model
    from_devices, to_devices = src.devices[src_engine], dst.devices[dst_engine]
    sources = list(_shards(model, src.spread, src_rank))
    pairs: list[tuple[int, int]] = []
    per_token: dict[int | None, float] = {}
    src_layers, dst_layers = _layer_ranges(model, src.spread), _layer_ranges(model, dst.spread)
    for shard in _shards(model, dst.spread, dst_rank):
        for source in _holders(sources, shard):
            common = range(
                max(src_layers[source.stage].start, dst_layers[shard.stage].start),
                min(src_layers[source.stage].stop, dst_layers[shard.stage].stop),
            )
            if not common:
                continue
            pairs.append((from_devices[source.device], to_devices[shard.device]))
            share = min(source.high, shard.high) - max(source.low, shard.low)
            share /= src.spread.kv_parallel * dst.spread.kv_parallel
            for layer in common:
                for cap, whole in _whole_bytes(dst, layer):
                    per_token[cap] = per_token.get(cap, 0.0) + share * whole
    return KvRoute(tuple(pairs), tuple(per_token.items()))


def _whole_bytes(pool: Placed, layer: int) -> Iterator[tuple[int | None, float]]:
    """(window, bytes per token) of one undivided layer; a state counts as one token's."""
    attention = pool.model.layers[layer].attention
    for kept in cost_of(attention).kept(attention, 1, pool.formats.kv.bits / 8):
        if kept.bytes_per_token:
            yield kept.cap_tokens, kept.bytes_per_token
        if kept.bytes_per_sequence:
            yield 1, kept.bytes_per_sequence


def _layer_ranges(model: Model, spread: Spread) -> list[range]:
    ranges, first = [], 0
    for layers in spread.stage_layers(model):
        ranges.append(range(first, first + len(layers)))
        first += len(layers)
    return ranges


def _shards(model: Model, spread: Spread, rank: int) -> Iterator[_Shard]:
    """What every device of a rank holds; beyond one head a device, devices are replicas. Devices
    that share the KV by position have equal shards: each holds its part of the tokens of them."""
    kinds = (layer.attention for layer in model.layers)
    attention = next((a for a in kinds if not isinstance(a, _WITHOUT_HEADS)), None)
    heads = attention.kv_heads if isinstance(attention, GroupedAttention) else 1
    tp = spread.attention_tp
    parts = min(heads, tp)
    copies = tp // parts
    for stage in range(spread.stages):
        for position, device in enumerate(spread.rank_devices(stage, rank)):
            part, replica = divmod(position % tp, copies)
            yield _Shard(device, stage, part / parts, (part + 1) / parts, replica)


def _holders(sources: list[_Shard], wanted: _Shard) -> Iterator[_Shard]:
    """Source devices that together hold the wanted heads, one replica of each."""
    replicas = 1 + max(s.replica for s in sources)
    for source in sources:
        overlap = min(source.high, wanted.high) - max(source.low, wanted.low)
        if overlap > 1e-12 and source.replica == wanted.replica % replicas:
            yield source
