"""Trainers over nodes whose networks do not speak to each other.

InfiniBand and RoCE move bytes by RDMA among their own kind only; a group of several kinds falls
back to the Ethernet that all nodes have (Holmes, arXiv 2312.03549, section 2). Placed so that data
parallelism stays inside one kind, only activations between two stages cross it (section 3.1); the
stages of slower nodes then get fewer layers (section 3.3, `layout.layers_by_speed`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Annotated, Literal

from pydantic import Field

from sim.errors import ScenarioError
from sim.network.collectives import Group
from sim.network.topology import Topology
from sim.settings import settings

Kind = Literal["infiniband", "roce", "ethernet"]


@settings
class Nics:
    """What nodes are connected by. Speeds within InfiniBand and RoCE are the topology's."""

    nodes: Annotated[tuple[Kind, ...], Field(min_length=1)]
    """By node of the topology."""
    ethernet_bytes_per_s: Annotated[float, Field(gt=0)] = 12.5e9
    """Of a whole node, all its GPUs together. assumed: one port of 100 Gbit/s."""
    ethernet_latency_s: Annotated[float, Field(ge=0)] = 30e-6
    """Between nodes by TCP. assumed."""

    def group(self, topology: Topology, devices: Sequence[int]) -> Group:
        """What a collective among these devices sees: the slowest network that all can use."""
        group = topology.group(devices)
        kinds = {self._kind(topology, d) for d in devices}
        if group.domains == 1 or (len(kinds) == 1 and "ethernet" not in kinds):
            return group
        node = topology.devices[devices[0]].node
        sharers = sum(d.node == node for d in topology.devices)
        return replace(
            group,
            scale_out_bytes_per_s=self.ethernet_bytes_per_s / sharers,
            scale_out_latency_s=self.ethernet_latency_s,
        )

    def together(self, topology: Topology) -> tuple[int, ...]:
        """Devices in the order of their nodes' kinds, so that stages and their data parallelism
        stay inside one kind as far as they divide it (Holmes)."""
        devices = [d.index for d in topology.devices]
        return tuple(sorted(devices, key=lambda d: (self._kind(topology, d), d)))

    def _kind(self, topology: Topology, device: int) -> Kind:
        node = topology.devices[device].node
        if node >= len(self.nodes):
            raise ScenarioError(
                f"trainer nics.nodes: {len(self.nodes)} nodes are named and topology "
                f"'{topology.name}' has more; name the network of every node"
            )
        return self.nodes[node]
