"""How long the KV cache of a prompt takes from a prefill engine to a decode engine, alone."""

from __future__ import annotations

from dataclasses import dataclass

from sim.network.topology import Topology
from sim.perf.kv_route import kv_route
from sim.scenario.pools import PoolPlan


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
    """The KV of `tokens` tokens from the first rank of the first engine of `src` to that of `dst`,
    by the way that a run takes."""
    route = kv_route(src, 0, 0, dst, 0, 0)
    bundle = topology.bundle(route.pairs)
    return Handoff(route.nbytes(tokens), bundle.alone_bytes_per_s, bundle.latency_s)
