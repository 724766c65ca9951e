"""The cluster as a graph: devices, links, routes between them, and what collectives see of it.

Routes are fixed, one per ordered pair. Inside a scale-up domain: over its switch. Between domains:
from the source's own NIC to the leaf of its rail and, if the destination's NIC is on that leaf,
down to it (same rail: one switch hop); if not, over the spine. That is what RDMA between
registered buffers does (a KV handoff). NCCL's PXN, which would first cross NVLink to the GPU on the
destination's rail, is not modelled: traffic between rails loads the spine.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from sim.catalog.gpu import Gpu, load_gpu
from sim.errors import ScenarioError
from sim.network.fabric import Bundle
from sim.network.group import Group, Tuning
from sim.network.machine import Machine, decode, read_machine, topology_names
from sim.network.plan import Device, Link, Plan, Port

__all__ = [
    "Device",
    "Link",
    "Route",
    "Topology",
    "build_topology",
    "load_topology",
    "topology_names",
]

INFINITE = float("inf")


@dataclass(frozen=True, slots=True)
class Route:
    """The way of bytes from one device to another."""

    links: tuple[int, ...]
    """In order; empty from a device to itself."""
    latency_s: float
    bytes_per_s: float
    """Of the narrowest link; infinite without links."""


@dataclass(frozen=True, eq=False, slots=True)
class Topology:
    """A built cluster. Immutable; routes, bundles and groups are made when first asked for."""

    name: str
    summary: str
    graph: Any
    """networkx DiGraph; nodes have `kind`, `x`, `y`, edges `link` (an index) and `kind`."""
    devices: tuple[Device, ...]
    links: tuple[Link, ...]
    """One per direction, in order of index."""
    sources: dict[str, str]
    """Figure → where it is from, those taken from the GPU catalog among them."""
    tuning: Tuning
    _ports: tuple[Port, ...]
    _trunks: dict[str, tuple[int, int, float]]
    """By leaf: link to the spine, link back, and one NIC's share of it when all send."""
    _routes: dict[tuple[int, int], Route] = field(default_factory=dict)
    _bundles: dict[tuple[tuple[int, int], ...], Bundle] = field(default_factory=dict)

    @property
    def assumptions(self) -> dict[str, str]:
        """The figures that are guesses, with the reason given for each."""
        return {k: v for k, v in self.sources.items() if v.startswith("assumed:")}

    def same_domain(self, first: int, second: int) -> bool:
        """Whether two devices reach each other over a scale-up switch."""
        return self._ports[first].domain == self._ports[second].domain

    def route(self, src_device: int, dst_device: int) -> Route:
        """The route between two devices, by index; always the same for the same pair."""
        key = (src_device, dst_device)
        found = self._routes.get(key)
        if found is None:
            path = self._path(src_device, dst_device)
            links = [self.links[i] for i in path]
            found = self._routes[key] = Route(
                path,
                sum(link.latency_s for link in links),
                min((link.capacity_bytes_per_s for link in links), default=INFINITE),
            )
        return found

    def _path(self, src: int, dst: int) -> tuple[int, ...]:
        if src == dst:
            return ()
        a, b = self._ports[src], self._ports[dst]
        if a.domain == b.domain:
            return (a.up, b.down)
        if a.leaf == b.leaf:
            return a.out + b.back
        return (*a.out, self._trunks[a.leaf][0], self._trunks[b.leaf][1], *b.back)

    def bundle(self, pairs: Sequence[tuple[int, int]]) -> Bundle:
        """One flow per (source, destination) pair of devices, moving together."""
        key = tuple(pairs)
        found = self._bundles.get(key)
        if found is None:
            found = self._bundles[key] = self._bundle(key)
        return found

    def _bundle(self, pairs: tuple[tuple[int, int], ...]) -> Bundle:
        if not pairs:
            raise ValueError("a bundle needs at least one pair of devices")
        crossings: dict[int, int] = {}
        latency = 0.0
        for src, dst in pairs:
            route = self.route(src, dst)
            latency = max(latency, route.latency_s)
            for link in route.links:
                crossings[link] = crossings.get(link, 0) + 1
        level = min(
            (self.links[i].capacity_bytes_per_s / times for i, times in crossings.items()),
            default=INFINITE,
        )
        return Bundle(tuple(sorted(crossings.items())), len(pairs), latency, len(pairs) * level)

    def pattern(self, devices: Sequence[int]) -> tuple[tuple[int, int], ...]:
        """How devices lie: node and leaf switch of each, counted from the first. Groups of equal
        pattern have equal wires."""
        nodes: dict[int, int] = {}
        leaves: dict[str, int] = {}
        return tuple(
            (
                nodes.setdefault(self.devices[d].node, len(nodes)),
                leaves.setdefault(self._ports[d].leaf, len(leaves)),
            )
            for d in devices
        )

    def group(self, devices: Sequence[int]) -> Group:
        """What a collective among these devices (each once) sees of the machine."""
        if not devices or len(set(devices)) != len(devices):
            raise ValueError(f"a group needs different devices, not {list(devices)}")
        ports = [self._ports[d] for d in devices]
        counts: dict[str, int] = {}
        for port in ports:
            counts[port.domain] = counts.get(port.domain, 0) + 1
        links = self.links
        out_s, out_rate = self._between(ports) if len(counts) > 1 else (0.0, 0.0)
        return Group(
            size=len(devices),
            domains=len(counts),
            per_domain=max(counts.values()),
            scale_up_bytes_per_s=min(
                min(links[p.up].capacity_bytes_per_s, links[p.down].capacity_bytes_per_s)
                for p in ports
            ),
            scale_out_bytes_per_s=out_rate,
            scale_up_latency_s=max(links[p.up].latency_s for p in ports)
            + max(links[p.down].latency_s for p in ports),
            scale_out_latency_s=out_s,
            tuning=self.tuning,
        )

    def _between(self, ports: list[Port]) -> tuple[float, float]:
        """(latency, bytes/s per device) between domains: over the spine unless every domain of the
        group hangs on the same leaves."""
        leaves: dict[str, set[str]] = {}
        for port in ports:
            leaves.setdefault(port.domain, set()).add(port.leaf)
        spine = len(set(map(frozenset, leaves.values()))) > 1
        links = self.links
        rate = min(links[i].capacity_bytes_per_s for p in ports for i in p.out + p.back)
        latency = max(sum(links[i].latency_s for i in p.out) for p in ports)
        latency += max(sum(links[i].latency_s for i in p.back) for p in ports)
        if spine:
            trunks = [self._trunks[p.leaf] for p in ports]
            rate = min(rate, *(share for _, _, share in trunks))
            latency += max(links[up].latency_s + links[down].latency_s for up, down, _ in trunks)
        return latency, rate

    def to_json(self) -> dict[str, Any]:
        """Everything that a report needs to draw it: nodes with x and y (y is the level, GPUs in
        the second), links, devices, sources, assumptions. Plain values in a fixed order."""
        return {
            "name": self.name,
            "summary": self.summary,
            "nodes": [{"name": n, **data} for n, data in self.graph.nodes(data=True)],
            "links": [
                {
                    "index": link.index,
                    "name": f"{link.src} → {link.dst}",
                    "src": link.src,
                    "dst": link.dst,
                    "kind": link.kind,
                    "capacity_bytes_per_s": link.capacity_bytes_per_s,
                    "latency_s": link.latency_s,
                }
                for link in self.links
            ],
            "devices": [
                {
                    "index": d.index,
                    "name": d.name,
                    "gpu": d.gpu,
                    "node": d.node,
                    "rack": d.rack,
                    "rail": d.rail,
                }
                for d in self.devices
            ],
            "sources": dict(self.sources),
            "assumptions": self.assumptions,
        }


def load_topology(
    name_or_path: str | Path, *, nodes: int | None = None, oversubscription: float | None = None
) -> Topology:
    """The topology of a file in `topologies/` (by name), or of a YAML file of the user's.

    `nodes` and `oversubscription` replace the file's own figures. Raises ScenarioError, in one
    sentence, for an unknown name, an ill-written file, or a figure that does not apply to it.
    """
    name, machine = read_machine(name_or_path)
    return build_topology(name, _with(name, machine, nodes, oversubscription))


def _with(
    name: str, machine: Machine, nodes: int | None, oversubscription: float | None
) -> Machine:
    """The machine with another number of nodes or another oversubscription."""
    if nodes is not None:
        if nodes < 1:
            raise ScenarioError(f"topology '{name}': nodes is {nodes}; at least 1 is needed")
        if len(machine.groups) > 1:
            raise ScenarioError(
                f"topology '{name}' has {len(machine.groups)} groups of nodes, so 'nodes' is "
                f"ambiguous; set 'nodes' of each group in a copy of its file"
            )
        machine = replace(machine, groups=(replace(machine.groups[0], nodes=nodes),))
    if oversubscription is not None:
        if machine.network is None:
            raise ScenarioError(f"topology '{name}' has no network; leave 'oversubscription' out")
        if not 1.0 <= oversubscription < INFINITE:
            raise ScenarioError(
                f"topology '{name}': oversubscription is {oversubscription}; write 1 or more"
            )
        machine = replace(
            machine,
            network=replace(machine.network, oversubscription=oversubscription),
            sources=machine.sources | {"oversubscription": "given by the scenario"},
        )
    return machine


def build_topology(
    name: str, machine: Machine | Mapping[str, Any], gpus: Mapping[str, Gpu] | None = None
) -> Topology:
    """The topology of a machine, given as the contents of a topology file.

    GPUs are those of `gpus`, by the name that the machine uses, else of the catalog. Raises
    ScenarioError for an unknown GPU, or nodes that cannot reach each other.
    """
    made = machine if isinstance(machine, Machine) else decode(machine, name)
    plan = Plan(made.network)
    sources = dict(made.sources)
    for group in made.groups:
        gpu = gpus[group.gpu] if gpus and group.gpu in gpus else load_gpu(group.gpu)
        for figure in group.shape.reads():
            sources[f"{gpu.name}.{figure}"] = gpu.sources.get(figure, "the GPU catalog")
        for _ in range(group.nodes):
            group.shape.build(plan, gpu)
    if made.collectives == Tuning():
        sources["collectives"] = "assumed: collectives run at wire speed, without software overhead"
    if len({p.domain for p in plan.ports}) > 1 and not all(p.leaf for p in plan.ports):
        raise ScenarioError(
            f"topology '{name}' has several scale-up domains and devices without a NIC; "
            f"add a 'network', and shapes that have NICs"
        )
    trunks = plan.finish()
    return Topology(
        name,
        made.summary,
        plan.graph,
        tuple(plan.devices),
        tuple(plan.links),
        sources,
        made.collectives,
        tuple(plan.ports),
        trunks,
    )
