"""The machine that a design point stands on, and its plan."""

from __future__ import annotations

import math
import re
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from sim.catalog.gpu import Gpu, load_gpu
from sim.catalog.model import load_model
from sim.errors import ScenarioError
from sim.network.machine import folders
from sim.network.topology import Topology, load_topology
from sim.perf.fitted import NEAREST
from sim.scenario.planning import Plan, plan
from sim.scenario.scenario import Scenario
from sim.search.point import Point
from sim.search.said import check_changes

_GPU = re.compile(r"^\s*-?\s*gpu:\s*(\S+)", re.MULTILINE)
_NETWORK = re.compile(r"^network:", re.MULTILINE)
OWN = ("nvlink_bytes_per_s", "pcie_bytes_per_s", "nic_bytes_per_s")
"""Figures of a shape that are the GPU's: another GPU has those of its data sheet."""
MOST_GPUS = 8_192
"""assumed: GPUs of a machine that is built in a few seconds."""


@cache
def machine_of(gpu: str) -> str | None:
    """The file of `topologies/` with nodes of nothing but this GPU and a network; None if none."""
    return next((file.stem for file, kind in _machines() if kind == gpu), None)


def _machines() -> Iterator[tuple[Path, str]]:
    """(file, GPU) of the machines with one sort of nodes and a network."""
    for folder in folders():
        for file in sorted(folder.glob("*.yaml")):
            text = file.read_text(encoding="utf-8")
            kinds = _GPU.findall(text)
            if len(kinds) == 1 and _NETWORK.search(text):
                yield file, kinds[0]


def nearest_machine(gpu: Gpu) -> Path | None:
    """The machine whose GPU is nearest: by architecture (`sim.perf.fitted.NEAREST`), then by the
    size of the scale-up domain, then by memory bandwidth. None for a GPU without scale-up wires,
    whose collectives cross PCIe: no machine is like that."""
    if gpu.scale_up_domain == 1:
        return None
    order = NEAREST.get(gpu.architecture, NEAREST["hopper"])

    def distance(found: tuple[Path, str]) -> tuple[int, float, float]:
        other = load_gpu(found[1])
        near = order.index(other.architecture) if other.architecture in order else len(order)
        domain = abs(math.log(other.scale_up_domain / gpu.scale_up_domain))
        return near, domain, abs(math.log(other.hbm_bytes_per_s / gpu.hbm_bytes_per_s))

    return min(_machines(), key=distance, default=(None, ""))[0]


def work_out(point: Point) -> Plan:
    """The plan of a design point: on the named machine, the catalog's, one like that of the nearest
    GPU, or an ideal switch, with as many nodes as the engines need. Raises ScenarioError for what
    cannot be served."""
    gpu = load_gpu(point.gpu)
    named = point.topology or machine_of(gpu.name)
    if named is not None:
        return _on(point, gpu, named)
    base = nearest_machine(gpu)
    name, contents = (f"{gpu.name}_as_{base.stem}", _like(gpu, base)) if base else _ideal(gpu)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / f"{name}.yaml"
        file.write_text(yaml.safe_dump(contents), encoding="utf-8")
        return _on(point, gpu, str(file))


def _like(gpu: Gpu, base: Path) -> dict[str, Any]:
    """The machine of another GPU with this one in it: its own bandwidths, and the shape, network
    and collectives of that machine. What only NVIDIA's switches do is left out for others."""
    made: dict[str, Any] = yaml.safe_load(base.read_text(encoding="utf-8"))
    why = f"extrapolated: as on {base.stem}"
    ((shape, figures),) = made["groups"][0]["shape"].items()
    figures = {k: v for k, v in figures.items() if k not in OWN}
    if "gpus" in figures:
        figures["gpus"] = gpu.scale_up_domain
    if gpu.architecture not in NEAREST:
        made["collectives"].pop("in_switch", None)
    tuned = [f"collectives.{name}" for name in made["collectives"]]
    kept = {k: made["sources"][k] for k in (*figures, *made["network"])}
    first = next(iter(figures))
    machine = (
        f"{why}: topologies/ has no machine of {gpu.name}; its own bandwidths, and the latencies, "
        f"network and collectives of {base.stem}"
    )
    return {
        "summary": f"{gpu.name} in a machine like {base.stem}",
        "groups": [{"gpu": gpu.name, "shape": {shape: figures}}],
        "network": made["network"],
        "collectives": made["collectives"],
        "sources": kept | dict.fromkeys(tuned, why) | {first: machine},
    }


def _ideal(gpu: Gpu) -> tuple[str, dict[str, Any]]:
    """Name and contents of nodes of one scale-up domain, all on one switch."""
    why = (
        "extrapolated: topologies/ has no machine of this GPU; an ideal switch without latency, at "
        "the speed of its scale-up wires"
    )
    group = {"gpu": gpu.name, "shape": {"flat": {"gpus": gpu.scale_up_domain}}}
    summary = f"{gpu.name} on one ideal switch"
    return f"ideal_{gpu.name}", {"summary": summary, "groups": [group], "sources": {"gpus": why}}


def _on(point: Point, gpu: Gpu, machine: str) -> Plan:
    tree = point.tree(machine, point.nodes)
    check_changes(point, tree)
    made = Scenario.of(tree, point.changes, where="estimate")
    s = made.settings
    topology = load_topology(s.topology.name)
    kinds = {d.gpu for d in topology.devices}
    if gpu.name not in kinds:
        raise ScenarioError(
            f"topology {s.topology.name} has {' and '.join(sorted(kinds))}, and --gpu says "
            f"{gpu.name}; name a machine of that GPU, or leave --topology out"
        )
    if len(kinds) > 1:
        pools = {name: replace(p, gpu=p.gpu or gpu.name) for name, p in s.pools.items()}
        return plan(made.but(pools=pools))
    nodes, unit = s.topology.nodes, _unit(topology)
    if nodes is None:
        nodes = _nodes(made, topology, unit)
    if nodes * unit > MOST_GPUS:
        raise ScenarioError(
            f"{nodes:,} nodes of {unit} {gpu.name} are {nodes * unit:,} GPUs, and an estimate "
            f"builds at most {MOST_GPUS:,}; write fewer --nodes or engines"
        )
    return plan(made.but(topology=replace(s.topology, nodes=nodes)))


def _unit(topology: Topology) -> int:
    """GPUs of a node, or of a rack that is one scale-up domain; `topology` is the file as it is."""
    first = topology.devices[0]
    in_node = sum(d.node == first.node for d in topology.devices)
    in_rack = sum(d.rack == first.rack for d in topology.devices)
    domain = sum(topology.same_domain(0, d.index) for d in topology.devices)
    return in_rack if domain > in_node else in_node


def _nodes(scenario: Scenario, topology: Topology, unit: int) -> int:
    """How many of the machine's nodes (racks) its engines need. Engines do not straddle nodes if
    they fit in one."""
    s, first = scenario.settings, topology.devices[0]
    in_node = sum(d.node == first.node for d in topology.devices)
    wanted = 0
    model = load_model(s.model)
    for pool in s.pools.values():
        size = pool.layout.plan(model).devices
        wanted += (
            -(-pool.engines // (in_node // size))
            if size <= in_node
            else (pool.engines * -(-size // in_node))
        )
    return -(-wanted * in_node // unit)
