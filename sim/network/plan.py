"""A topology under construction: shapes add their nodes to it, then leaves and spine are wired."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Any, Protocol

import networkx as nx
from pydantic import Field

from sim.catalog.gpu import Gpu
from sim.errors import BrokenInvariant
from sim.settings import settings
from sim.units import PositiveInt, Seconds

NVSWITCH, GPU, PCIE, NIC, LEAF, SPINE = range(6)
"""Levels of the drawing, from the bottom: the y coordinate of each kind of node."""


@dataclass(frozen=True, slots=True)
class Device:
    """One GPU of the cluster."""

    index: int
    name: str
    gpu: str
    """Its name in the catalog."""
    node: int
    """Machine (tray, for a rack-scale system) that it sits in, numbered over the cluster."""
    rack: int
    rail: int
    """Which of the parallel leaf planes its NIC is on."""


@dataclass(frozen=True, slots=True)
class Link:
    """One direction of a cable or bus."""

    index: int
    src: str
    dst: str
    kind: str
    """`nvlink`, `pcie`, `network` (NIC to leaf), `uplink` (leaf to spine)."""
    capacity_bytes_per_s: float
    latency_s: float
    """Propagation and what the receiving end adds."""


@dataclass(frozen=True, slots=True)
class Port:
    """How one device reaches the rest."""

    domain: str
    """Its scale-up switch."""
    up: int
    """Link to that switch, and back."""
    down: int
    out: tuple[int, ...] = ()
    """Links from the device to its leaf; empty without a NIC."""
    back: tuple[int, ...] = ()
    """Links from the leaf to the device."""
    leaf: str = ""


@dataclass(frozen=True, slots=True)
class Wires:
    """Bandwidths (one direction) and latencies of one GPU's links inside its node."""

    nvlink_bytes_per_s: float
    pcie_bytes_per_s: float
    nic_bytes_per_s: float
    nvlink_latency_s: float
    pcie_latency_s: float


@settings
class ScaleOut:
    """The network between nodes: one plane of leaf switches per rail, under one spine.

    The spine is one switch, and a leaf's uplinks are one link each way, of the capacity of the
    NICs on the leaf divided by the oversubscription: adaptive routing is taken to balance them.
    """

    leaf_ports: PositiveInt
    """NICs on one leaf switch; the next NIC of that rail starts another leaf."""
    oversubscription: Annotated[float, Field(ge=1.0)] = 1.0
    """NIC bandwidth under a leaf ÷ its bandwidth to the spine; 1 is non-blocking."""
    leaf_latency_s: Annotated[Seconds, Field(ge=0.0)]
    """From a NIC to its leaf, or back: cable and half of the leaf's forwarding."""
    spine_latency_s: Annotated[Seconds, Field(ge=0.0)]
    """From a leaf to the spine, or back."""


class Shape(Protocol):
    """The shape of a node: one file each in `network/shapes/`, the class being its settings."""

    def build(self, plan: Plan, gpu: Gpu) -> None:
        """Add one more node of this shape to the plan."""

    def reads(self) -> tuple[str, ...]:
        """Figures that it takes from the GPU's catalog entry, for the list of sources."""


@dataclass(eq=False, slots=True)
class Plan:
    """Nodes, links and devices as they are added, numbered in that order."""

    network: ScaleOut | None
    graph: Any = field(default_factory=nx.DiGraph)
    links: list[Link] = field(default_factory=list)
    devices: list[Device] = field(default_factory=list)
    ports: list[Port] = field(default_factory=list)
    nodes: int = 0
    racks: int = 0
    _room: tuple[int, int] = (0, 0)
    _leaves: dict[int, list[tuple[str, list[float]]]] = field(default_factory=dict)

    def place_node(self, per_rack: int) -> tuple[int, int]:
        """(node, rack) numbers for the next node; racks hold `per_rack` of the same sort."""
        kind, left = self._room
        if kind != per_rack or left == 0:
            self.racks, left = self.racks + 1, per_rack
        self._room = (per_rack, left - 1)
        self.nodes += 1
        return self.nodes - 1, self.racks - 1

    def add(self, name: str, kind: str, x: float, level: int) -> str:
        """A node of the graph at a place in the drawing."""
        self.graph.add_node(name, kind=kind, x=float(x), y=float(level))
        return name

    def wire(
        self, a: str, b: str, kind: str, bytes_per_s: float, latency_s: float
    ) -> tuple[int, int]:
        """Links a → b and b → a; their numbers."""
        first = len(self.links)
        for i, (src, dst) in enumerate(((a, b), (b, a))):
            self.links.append(Link(first + i, src, dst, kind, bytes_per_s, latency_s))
            self.graph.add_edge(src, dst, link=first + i, kind=kind)
        return first, first + 1

    def add_device(self, name: str, gpu: str, node: int, rack: int, rail: int) -> Device:
        """A GPU, as a device and as a node of the graph; its port is added by the shape."""
        device = Device(len(self.devices), name, gpu, node, rack, rail)
        self.devices.append(device)
        self.add(name, "gpu", self.place(device), GPU)
        return device

    def place(self, device: Device) -> float:
        """x of a device in the drawing: side by side, with a gap between nodes."""
        return device.index + 1.5 * device.node

    def connect(self, device: Device, switch: str, pcie: str, wires: Wires) -> None:
        """Wire a device to its scale-up switch and, where there is a network, through the PCIe
        switch `pcie` (already added) and a NIC of its own to the leaf of its rail."""
        gpu, bus = device.name, (wires.pcie_bytes_per_s, wires.pcie_latency_s)
        up, down = self.wire(
            gpu, switch, "nvlink", wires.nvlink_bytes_per_s, wires.nvlink_latency_s
        )
        if self.network is None:
            self.ports.append(Port(switch, up, down))
            return
        nic = self.add(f"{gpu}.nic", "nic", self.place(device), NIC)
        out1, back3 = self.wire(gpu, pcie, "pcie", *bus)
        out2, back2 = self.wire(pcie, nic, "pcie", *bus)
        leaf = self._leaf(device.rail, wires.nic_bytes_per_s)
        latency = self.network.leaf_latency_s
        out3, back1 = self.wire(nic, leaf, "network", wires.nic_bytes_per_s, latency)
        out, back = (out1, out2, out3), (back1, back2, back3)
        self.ports.append(Port(switch, up, down, out, back, leaf))

    def _leaf(self, rail: int, bytes_per_s: float) -> str:
        """The leaf that takes one more NIC of a rail."""
        if self.network is None:
            raise BrokenInvariant("a topology without a network has no leaves")
        leaves = self._leaves.setdefault(rail, [])
        if not leaves or len(leaves[-1][1]) == self.network.leaf_ports:
            leaves.append((self.add(f"leaf{rail}.{len(leaves)}", "leaf", 0.0, LEAF), []))
        name, speeds = leaves[-1]
        speeds.append(bytes_per_s)
        return name

    def finish(self) -> dict[str, tuple[int, int, float]]:
        """Wire the leaves to the spine: per leaf (link up, link down, share of one NIC in bytes/s
        when all of the leaf's NICs send up)."""
        leaves = [leaf for rail in sorted(self._leaves) for leaf in self._leaves[rail]]
        if self.network is None or not leaves:
            return {}
        span = max(self.graph.nodes[d.name]["x"] for d in self.devices)
        step = span / len(leaves)
        self.add("spine", "spine", span / 2, SPINE)
        trunks = {}
        for i, (name, speeds) in enumerate(leaves):
            self.graph.nodes[name]["x"] = step * (i + 0.5)
            total = sum(speeds) / self.network.oversubscription
            up, down = self.wire(name, "spine", "uplink", total, self.network.spine_latency_s)
            trunks[name] = (up, down, total / len(speeds))
        return trunks
