"""Small machines with round numbers, and a fabric on a clock that notes when transfers end."""

from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

from sim.catalog.gpu import Gpu
from sim.clock import STEP_END, Clock
from sim.network.fabric import Bundle
from sim.network.topology import Topology, build_topology

INFINITE = float("inf")

GPU = Gpu(
    name="round",
    architecture="hopper",
    flops_per_s={"bf16": 1e12},
    hbm_bytes=80e9,
    hbm_bytes_per_s=1e12,
    sm_count=100,
    l2_bytes=50e6,
    scale_up_bytes_per_s=400.0,
    scale_up_domain=4,
    network_bytes_per_s=50.0,
    pcie_bytes_per_s=60.0,
    power_w=700.0,
    sources={"scale_up_bytes_per_s": "a round number"},
)


def star(gpus: int, bytes_per_s: float = 100.0, latency_s: float = 0.0) -> Topology:
    """Devices on one ideal switch: links 2i (up) and 2i + 1 (down) belong to device i."""
    figures = {"gpus": gpus, "bytes_per_s": bytes_per_s, "latency_s": latency_s}
    machine = {
        "summary": "a star",
        "groups": [{"gpu": "round", "shape": {"flat": figures}}],
        "sources": dict.fromkeys(figures, "a round number"),
    }
    return build_topology("star", machine, {"round": GPU})


def rails(nodes: int, *, oversubscription: float = 1.0, leaf_ports: int = 8) -> Topology:
    """Nodes of 4 GPUs: NVLink 400 B/s, NIC 50 B/s; NVLink 1 s a link, PCIe 2, leaf 3, spine 4."""
    figures = {"gpus": 4, "nvlink_latency_s": 1.0, "pcie_latency_s": 2.0}
    network = {
        "leaf_ports": leaf_ports,
        "oversubscription": oversubscription,
        "leaf_latency_s": 3.0,
        "spine_latency_s": 4.0,
    }
    machine = {
        "summary": "rails",
        "groups": [{"gpu": "round", "nodes": nodes, "shape": {"hgx": figures}}],
        "network": network,
        "sources": dict.fromkeys(figures | network, "a round number"),
    }
    return build_topology("rails", machine, {"round": GPU})


class Play:
    """A fabric at work: `send` plans transfers, `run` plays them."""

    def __init__(self, policy: Any, topology: Topology) -> None:
        self.clock = Clock()
        self.emitted: list[tuple[float, ...]] = []
        """Rows of the `links` table."""
        self.topology = topology
        self.fabric = policy.start(
            SimpleNamespace(
                clock=self.clock,
                topology=topology,
                log=SimpleNamespace(links=self.emitted.append),
            )
        )
        self.ended: dict[int, float] = {}
        """When each transfer ended, in order of ending."""
        self._planned = 0

    def send(
        self,
        pairs: Sequence[tuple[int, int]] | Bundle,
        nbytes: float,
        *,
        at: float = 0.0,
        cap: float = INFINITE,
        order: int = STEP_END,
    ) -> int:
        """Plan a transfer; its number."""
        bundle = pairs if isinstance(pairs, Bundle) else self.topology.bundle(pairs)
        number = self._planned
        self._planned += 1

        def done() -> None:
            assert number not in self.ended
            self.ended[number] = self.clock.now

        def start(_: object) -> None:
            self.fabric.send(bundle, nbytes, done, rate_cap_bytes_per_s=cap)

        self.clock.at(at, order + number).callbacks.append(start)
        return number

    def run(self) -> dict[int, float]:
        """Play to the end; when each transfer ended."""
        self.clock.run()
        return self.ended

    def rows(self) -> list[tuple[float, ...]]:
        """(link, bin_s, bytes, busy_s) of every row, after settling now."""
        self.fabric.settle(self.clock.now)
        return self.emitted
