"""How long the KV cache of a prompt takes from a prefill engine to a decode engine, alone."""

from __future__ import annotations

from dataclasses import dataclass

from sim.catalog.model import GroupedAttention
from sim.network.topology import Topology
from sim.perf.attentions import cost_of
from sim.perf.spread import Spread
from sim.scenario.planning import PoolPlan


@dataclass(frozen=True, slots=True)
class Handoff:
    """One prompt's KV on its way."""

    nbytes: float
    """All that moves, copies for replicas included."""
    bytes_per_s: float
    """Of all devices together."""
    latency_s: float

    @property
    def seconds(self) -> float:
        """Latency and bytes ÷ bandwidth."""
        return self.latency_s + self.nbytes / self.bytes_per_s


def handoff(topology: Topology, src: PoolPlan, dst: PoolPlan, tokens: int) -> Handoff:
    """The KV of `tokens` tokens from the first rank of the first engine of `src` to that of `dst`.

    Every device gets its shard from the device that holds it: with devices numbered alike by stage,
    position and head, the i-th of the longer list is paired with the one at the same share of the
    other. Beyond one KV head a device, every replica is sent its copy.
    """
    sources, sinks = _holders(src), _holders(dst)
    most = max(len(sources), len(sinks))
    pairs = [
        (sources[i * len(sources) // most], sinks[i * len(sinks) // most]) for i in range(most)
    ]
    bundle = topology.bundle(pairs)
    nbytes = _bytes(dst, tokens) * _copies(dst)
    return Handoff(nbytes, bundle.alone_bytes_per_s, bundle.latency_s)


def _holders(pool: PoolPlan) -> list[int]:
    spread: Spread = pool.spread
    return [
        pool.devices[0][position]
        for stage in range(spread.stages)
        for position in spread.rank_devices(stage, 0)
    ]


def _bytes(pool: PoolPlan, tokens: int) -> float:
    """Undivided KV of a sequence."""
    total = 0.0
    for layer in pool.model.layers:
        for kept in cost_of(layer.attention).kept(layer.attention, 1, pool.formats.kv.bits / 8):
            held = tokens if kept.cap_tokens is None else min(tokens, kept.cap_tokens)
            total += held * kept.bytes_per_token + kept.bytes_per_sequence
    return total


def _copies(pool: PoolPlan) -> int:
    """Replicas of every KV head."""
    kinds = (layer.attention for layer in pool.model.layers)
    grouped = [a for a in kinds if isinstance(a, GroupedAttention)]
    heads = grouped[0].kv_heads if grouped else 1
    tp = pool.spread.attention_tp
    return tp // min(heads, tp)
