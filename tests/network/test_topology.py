"""Machines as graphs: routes, bundles, groups, and files that are refused."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from playground import GPU, rails, star

from sim.errors import ScenarioError
from sim.network.topology import build_topology, load_topology, topology_names

MACHINES = topology_names()


def kinds(topology: Any, src: int, dst: int) -> list[str]:
    return [topology.links[i].kind for i in topology.route(src, dst).links]


def test_the_shipped_machines() -> None:
    assert set(MACHINES) >= {
        "dgx_a100",
        "dgx_h100",
        "gb200_nvl72",
        "h100_and_h200",
        "hgx_b200",
        "hgx_h20",
        "hgx_h200",
        "hgx_h800",
        "single_gpu",
    }


@pytest.mark.parametrize("name", MACHINES)
def test_every_machine_builds_and_every_guess_is_named(name: str) -> None:
    topology = load_topology(name)
    assert topology.devices
    assert topology.sources
    for figure, source in topology.assumptions.items():
        assert source.startswith("assumed:")
        assert topology.sources[figure] == source


@pytest.mark.parametrize("name", MACHINES)
def test_devices_and_links_are_numbered_in_order(name: str) -> None:
    topology = load_topology(name)
    assert [d.index for d in topology.devices] == list(range(len(topology.devices)))
    assert [link.index for link in topology.links] == list(range(len(topology.links)))
    assert len({d.name for d in topology.devices}) == len(topology.devices)
    for link in topology.links:
        back = topology.links[topology.graph.edges[link.dst, link.src]["link"]]
        assert (back.src, back.dst) == (link.dst, link.src)
        assert back.capacity_bytes_per_s == link.capacity_bytes_per_s > 0


@given(data=st.data())
@pytest.mark.parametrize("name", ["h100_and_h200", "gb200_nvl72", "dgx_a100"])
def test_a_route_is_a_path_of_the_graph_from_one_device_to_the_other(
    name: str, data: st.DataObject
) -> None:
    topology = CACHED[name]
    index = st.integers(0, len(topology.devices) - 1)
    src, dst = data.draw(index), data.draw(index)
    at, latency = topology.devices[src].name, 0.0
    route = topology.route(src, dst)
    for i in route.links:
        link = topology.links[i]
        assert link.src == at
        assert topology.graph.edges[link.src, link.dst]["link"] == i
        at, latency = link.dst, latency + link.latency_s
    assert at == topology.devices[dst].name
    assert route.latency_s == latency
    assert topology.route(src, dst) is route


CACHED = {
    "h100_and_h200": load_topology("h100_and_h200"),
    "gb200_nvl72": load_topology("gb200_nvl72", nodes=2),
    "dgx_a100": load_topology("dgx_a100", nodes=25),
}


def test_in_a_node_over_nvlink() -> None:
    topology = rails(2)
    assert kinds(topology, 0, 3) == ["nvlink", "nvlink"]
    assert topology.route(0, 3).latency_s == 2.0
    assert topology.route(0, 3).bytes_per_s == 400.0


def test_between_nodes_on_one_rail_over_one_leaf() -> None:
    topology = rails(2)
    assert kinds(topology, 1, 5) == ["pcie", "pcie", "network", "network", "pcie", "pcie"]
    assert topology.links[topology.route(1, 5).links[2]].dst == "leaf1.0"
    assert topology.route(1, 5).latency_s == 14.0
    assert topology.route(1, 5).bytes_per_s == 50.0


def test_between_rails_over_the_spine_from_the_own_nic() -> None:
    topology = rails(2)
    assert kinds(topology, 0, 5)[2:6] == ["network", "uplink", "uplink", "network"]
    assert topology.route(0, 5).latency_s == 22.0


def test_on_one_rail_but_different_leaves_over_the_spine() -> None:
    topology = rails(4, leaf_ports=2)
    assert "uplink" not in kinds(topology, 0, 4)
    assert "uplink" in kinds(topology, 0, 8)


def test_to_itself_there_is_no_way_to_go() -> None:
    route = rails(1).route(2, 2)
    assert (route.links, route.latency_s, route.bytes_per_s) == ((), 0.0, float("inf"))


def test_a_leafs_uplink_carries_its_nics_divided_by_the_oversubscription() -> None:
    topology = rails(6, oversubscription=4.0, leaf_ports=4)
    up = {link.src: link.capacity_bytes_per_s for link in topology.links if link.dst == "spine"}
    assert up["leaf0.0"] == 4 * 50.0 / 4
    assert up["leaf0.1"] == 2 * 50.0 / 4


def test_any_pair_of_a_rack_is_in_one_domain() -> None:
    topology = load_topology("gb200_nvl72", nodes=2)
    assert len(topology.devices) == 144
    assert {d.node for d in topology.devices if d.rack == 0} == set(range(18))
    for other in range(1, 72):
        assert kinds(topology, 0, other) == ["nvlink", "nvlink"]
    assert topology.same_domain(0, 71)
    assert not topology.same_domain(0, 72)
    assert topology.group(range(72)).domains == 1
    assert kinds(topology, 5, 72 + 5)[2] == "network"


def test_two_sorts_of_nodes_share_one_network() -> None:
    topology = load_topology("h100_and_h200")
    assert [topology.devices[i].gpu for i in (0, 15, 16, 31)] == ["h100", "h100", "h200", "h200"]
    assert "uplink" not in kinds(topology, 3, 19)


def test_a_bundle_counts_how_many_members_cross_each_link() -> None:
    """Two into one device: its NIC is crossed twice and decides."""
    bundle = rails(3).bundle([(4, 0), (8, 0), (1, 1)])
    crossings = dict(bundle.links)
    assert sorted(crossings.values()) == [1, 1, 1, 1, 1, 1, 2, 2, 2]
    assert bundle.members == 3
    assert bundle.alone_bytes_per_s == 3 * 50.0 / 2
    assert bundle.latency_s == 14.0


def test_bundles_are_made_once() -> None:
    topology = rails(2)
    assert topology.bundle([(0, 4), (1, 5)]) is topology.bundle([(0, 4), (1, 5)])
    with pytest.raises(ValueError, match="at least one pair"):
        topology.bundle([])


def test_what_a_collective_sees_inside_a_node() -> None:
    group = rails(2).group([0, 1, 2])
    assert (group.size, group.domains, group.per_domain) == (3, 1, 3)
    assert (group.scale_up_bytes_per_s, group.scale_up_latency_s) == (400.0, 2.0)
    assert (group.scale_out_bytes_per_s, group.scale_out_latency_s) == (0.0, 0.0)


def test_what_a_collective_sees_across_nodes() -> None:
    topology = rails(2, oversubscription=2.0)
    same_rails, cross_rails = topology.group([0, 1, 4, 5]), topology.group([0, 5])
    assert (same_rails.size, same_rails.domains, same_rails.per_domain) == (4, 2, 2)
    assert (same_rails.scale_out_bytes_per_s, same_rails.scale_out_latency_s) == (50.0, 14.0)
    assert (cross_rails.scale_out_bytes_per_s, cross_rails.scale_out_latency_s) == (25.0, 22.0)


@pytest.mark.parametrize("devices", [[], [1, 1]])
def test_a_group_needs_different_devices(devices: list[int]) -> None:
    with pytest.raises(ValueError, match="different devices"):
        star(2).group(devices)


@pytest.mark.parametrize("name", MACHINES)
def test_the_json_form_is_plain_and_the_same_every_time(name: str) -> None:
    first, second = load_topology(name).to_json(), load_topology(name).to_json()
    assert json.dumps(first) == json.dumps(second)
    assert json.loads(json.dumps(first)) == first
    names = {node["name"] for node in first["nodes"]}
    assert all(link["src"] in names and link["dst"] in names for link in first["links"])
    assert len({(node["x"], node["y"]) for node in first["nodes"]}) == len(names)
    assert {node["kind"] for node in first["nodes"]} <= {
        "gpu",
        "nvswitch",
        "pcie",
        "nic",
        "leaf",
        "spine",
    }


def test_two_thousand_devices_are_routed_one_pair_at_a_time() -> None:
    topology = load_topology("dgx_h100", nodes=256)
    assert len(topology.devices) == 2048
    topology.route(0, 2047)
    assert len(topology._routes) == 1


MACHINE: dict[str, Any] = {
    "summary": "a machine",
    "groups": [
        {"gpu": "round", "shape": {"hgx": {"nvlink_latency_s": 1.0, "pcie_latency_s": "2 us"}}}
    ],
    "network": {"leaf_ports": 4, "leaf_latency_s": 3.0, "spine_latency_s": 4.0},
    "sources": dict.fromkeys(
        ("nvlink_latency_s", "pcie_latency_s", "leaf_ports", "leaf_latency_s", "spine_latency_s"),
        "a round number",
    ),
}


def wrong(path: str, value: object) -> dict[str, Any]:
    """The machine with one thing changed; a value of None removes it."""
    machine = copy.deepcopy(MACHINE)
    at: Any = machine
    *way, last = path.split("/")
    for part in way:
        at = at[int(part)] if part.isdigit() else at[part]
    if value is None:
        del at[last]
    else:
        at[last] = value
    return machine


def test_a_machine_may_be_given_as_a_mapping() -> None:
    assert len(build_topology("mine", MACHINE, {"round": GPU}).devices) == 8


@pytest.mark.parametrize(
    ("path", "value", "says"),
    [
        ("grops", [], "'grops' is not a setting; did you mean 'groups'"),
        ("groups/0/node", 2, "is not a setting; did you mean 'nodes'"),
        ("groups/0/nodes", 0, "groups.0.nodes"),
        ("groups/0/nodes", "two", "groups.0.nodes"),
        ("groups/0/shape", "hgxx", "not one of the shapes; did you mean 'hgx'"),
        ("groups/0/shape/hgx/nvlnk_latency_s", 1, "did you mean 'nvlink_latency_s'"),
        ("groups/0/shape/hgx/pcie_latency_s", "2 GB/s", "groups.0.shape.hgx.pcie_latency_s"),
        ("groups/0/shape/hgx/pcie_latency_s", None, "is missing"),
        ("groups/0/gpu", "h1000", "h1000"),
        ("groups", [], "groups"),
        ("summary", None, "'summary' is missing"),
        ("network/oversubscription", 0.5, "network.oversubscription"),
        ("network/leaf_ports", 0, "network.leaf_ports"),
        ("network", None, "'sources' names"),
        ("sources/leaf_ports", None, "'leaf_ports' has no line in 'sources'"),
        ("sources/leaf_port", "x", "which the file does not set; did you mean 'leaf_ports'"),
        ("collectives", {"ring": [{"efficiency": 1.5}]}, "collectives.ring.0.efficiency"),
    ],
)
def test_what_is_wrong_is_refused_in_one_sentence(path: str, value: object, says: str) -> None:
    with pytest.raises(ScenarioError) as refused:
        build_topology("mine", wrong(path, value), {"round": GPU})
    assert says in str(refused.value)
    assert "\n" not in str(refused.value)


def test_nodes_that_cannot_reach_each_other_are_refused() -> None:
    machine = wrong("network", None)
    machine["groups"][0]["nodes"] = 2
    for figure in ("leaf_ports", "leaf_latency_s", "spine_latency_s"):
        del machine["sources"][figure]
    with pytest.raises(ScenarioError, match="without a NIC"):
        build_topology("mine", machine, {"round": GPU})


@pytest.mark.parametrize(
    ("name", "given", "says"),
    [
        ("dgx_h200", {}, "did you mean"),
        ("nowhere.yaml", {}, "is not a file"),
        ("dgx_h100", {"nodes": 0}, "nodes is 0; at least 1"),
        ("dgx_h100", {"oversubscription": 0.0}, "oversubscription is 0.0; write 1 or more"),
        ("dgx_h100", {"oversubscription": float("nan")}, "write 1 or more"),
        ("single_gpu", {"oversubscription": 2.0}, "has no network"),
        ("h100_and_h200", {"nodes": 4}, "ambiguous"),
    ],
)
def test_a_figure_that_does_not_apply_is_refused(name: str, given: dict, says: str) -> None:
    with pytest.raises(ScenarioError, match=says):
        load_topology(name, **given)


def test_a_file_of_the_users_own(tmp_path: Path) -> None:
    machine = copy.deepcopy(MACHINE)
    machine["groups"][0]["gpu"] = "h100"
    file = tmp_path / "mine.yaml"
    file.write_text(yaml.safe_dump(machine))
    topology = load_topology(file, nodes=3, oversubscription=2.0)
    assert (topology.name, len(topology.devices)) == ("mine", 24)
    assert topology.sources["oversubscription"] == "given by the scenario"
    file.write_text("- a list")
    with pytest.raises(ScenarioError, match="must be a mapping"):
        load_topology(file)
    file.write_text("a: [")
    with pytest.raises(ScenarioError, match="cannot be read"):
        load_topology(file)


def test_a_topology_in_the_working_directory_is_found_by_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine = copy.deepcopy(MACHINE)
    machine["groups"][0]["gpu"] = "h100"
    (tmp_path / "topologies").mkdir()
    (tmp_path / "topologies" / "of_mine.yaml").write_text(yaml.safe_dump(machine))
    monkeypatch.chdir(tmp_path)
    assert "of_mine" in topology_names()
    assert load_topology("of_mine").name == "of_mine"
    assert load_topology("single_gpu").devices
