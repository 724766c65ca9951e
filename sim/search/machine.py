"""The machine that a design point stands on, and its plan."""

from __future__ import annotations

import re
import tempfile
from dataclasses import replace
from functools import cache
from pathlib import Path

import yaml

from sim.catalog.gpu import Gpu, load_gpu
from sim.catalog.model import load_model
from sim.errors import ScenarioError
from sim.network.machine import folders
from sim.network.topology import Topology, load_topology
from sim.scenario.planning import Plan, plan
from sim.scenario.scenario import Scenario
from sim.search.point import Point

_GPU = re.compile(r"^\s*-?\s*gpu:\s*(\S+)", re.MULTILINE)
_NETWORK = re.compile(r"^network:", re.MULTILINE)


@cache
def machine_of(gpu: str) -> str | None:
    """The file of `topologies/` with nodes of nothing but this GPU and a network; None if none."""
    for folder in folders():
        for file in sorted(folder.glob("*.yaml")):
            text = file.read_text(encoding="utf-8")
            if _GPU.findall(text) == [gpu] and _NETWORK.search(text):
                return file.stem
    return None


def work_out(point: Point) -> Plan:
    """The plan of a design point: on the named machine, the catalog's, or an ideal switch, with as
    many nodes as the engines need. Raises ScenarioError for what cannot be served."""
    gpu = load_gpu(point.gpu)
    named = point.topology or machine_of(gpu.name)
    if named is not None:
        return _on(point, gpu, named)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / f"ideal_{gpu.name}.yaml"
        file.write_text(yaml.safe_dump(_ideal(gpu)), encoding="utf-8")
        return _on(point, gpu, str(file))


def _ideal(gpu: Gpu) -> dict[str, object]:
    """Nodes of one scale-up domain, all on one switch."""
    why = "assumed: topologies/ has no machine of this GPU; an ideal switch without latency"
    group = {"gpu": gpu.name, "shape": {"flat": {"gpus": gpu.scale_up_domain}}}
    summary = f"{gpu.name} on one ideal switch"
    return {"summary": summary, "groups": [group], "sources": {"gpus": why}}


def _on(point: Point, gpu: Gpu, machine: str) -> Plan:
    made = Scenario.of(point.tree(machine, point.nodes), point.changes, where="estimate")
    s = made.settings
    topology = load_topology(s.topology.name, nodes=s.topology.nodes)
    kinds = {d.gpu for d in topology.devices}
    if gpu.name not in kinds:
        raise ScenarioError(
            f"--topology {machine} has {' and '.join(sorted(kinds))}, and --gpu says {gpu.name}; "
            "name a machine of that GPU, or leave --topology out"
        )
    if len(kinds) > 1:
        pools = {name: replace(p, gpu=p.gpu or gpu.name) for name, p in s.pools.items()}
        return plan(made.but(pools=pools))
    if s.topology.nodes is None:
        made = made.but(topology=replace(s.topology, nodes=_nodes(made, topology)))
    return plan(made)


def _nodes(scenario: Scenario, topology: Topology) -> int:
    """How many of the machine's nodes (racks) its engines need: `topology` is the file as it is.
    Engines do not straddle nodes if they fit in one."""
    s, first = scenario.settings, topology.devices[0]
    in_node = sum(d.node == first.node for d in topology.devices)
    in_rack = sum(d.rack == first.rack for d in topology.devices)
    domain = sum(topology.same_domain(0, d.index) for d in topology.devices)
    unit = in_rack if domain > in_node else in_node
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
