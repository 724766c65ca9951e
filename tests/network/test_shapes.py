"""What every shape of node owes, run over whatever files the folder holds."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
from playground import GPU

from sim import plugins
from sim.errors import ScenarioError
from sim.network.plan import ScaleOut
from sim.network.topology import Topology, build_topology

FOLDER = "sim.network.shapes"
shapes = pytest.mark.parametrize("name", plugins.names(FOLDER))


def figures(name: str) -> dict[str, Any]:
    """The settings that the shape cannot do without: latencies."""
    fields = dataclasses.fields(plugins.load(FOLDER, name))
    needed = [
        f.name
        for f in fields
        if f.default is dataclasses.MISSING and f.default_factory is dataclasses.MISSING
    ]
    return dict.fromkeys(needed, "1 us")


def build(name: str, nodes: int) -> Topology:
    network = {"leaf_ports": 4, "leaf_latency_s": "1 us", "spine_latency_s": "1 us"}
    group = {"gpu": "round", "nodes": nodes, "shape": {name: figures(name)}}
    machine = {
        "summary": name,
        "groups": [group],
        "network": network,
        "sources": dict.fromkeys(figures(name) | network, "a round number"),
    }
    return build_topology(name, machine, {"round": GPU})


@shapes
@pytest.mark.parametrize("nodes", [1, 3])
def test_every_device_reaches_every_other(name: str, nodes: int) -> None:
    topology = build(name, nodes)
    last = len(topology.devices) - 1
    for pair in ((0, last), (last, 0), (0, last // 2)):
        if pair[0] != pair[1]:
            route = topology.route(*pair)
            assert route.links
            assert route.latency_s >= 0.0
            assert 0.0 < route.bytes_per_s < float("inf")


@shapes
def test_nodes_are_alike_and_numbered_on(name: str) -> None:
    one, three = build(name, 1), build(name, 3)
    assert len(three.devices) == 3 * len(one.devices)
    numbers = [d.node for d in three.devices]
    assert numbers == sorted(numbers)
    assert set(numbers) == set(range(numbers[-1] + 1))
    assert [d.rack for d in three.devices] == sorted(d.rack for d in three.devices)


@shapes
def test_figures_from_the_catalog_are_listed_with_their_source(name: str) -> None:
    topology = build(name, 1)
    assert topology.sources["round.scale_up_bytes_per_s"] == "a round number"


@shapes
def test_the_devices_bandwidth_is_the_catalogs_unless_given(name: str) -> None:
    topology = build(name, 1)
    assert topology.group([0]).scale_up_bytes_per_s == GPU.scale_up_bytes_per_s


@shapes
def test_an_unknown_figure_is_refused(name: str) -> None:
    shape = {name: figures(name) | {"colour": "red"}}
    machine = {"summary": "", "groups": [{"gpu": "round", "shape": shape}]}
    with pytest.raises(ScenarioError, match="colour"):
        build_topology("mine", machine, {"round": GPU})


def test_four_hgx_nodes_share_a_rack() -> None:
    assert [d.rack for d in build("hgx", 3).devices[::8]] == [0, 0, 0]


def test_flat_nodes_are_one_domain() -> None:
    topology = build("flat", 3)
    assert topology.group([0, 1, 2]).domains == 1
    assert {link.kind for link in topology.links} == {"nvlink"}


def test_the_network_needs_no_more_than_its_figures() -> None:
    assert ScaleOut(leaf_ports=1, leaf_latency_s=0.0, spine_latency_s=0.0).oversubscription == 1.0
