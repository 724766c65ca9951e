"""`--set a.b=c` reaches any setting, and spells short forms out on the way."""

from __future__ import annotations

from typing import Any

import pytest

from sim import plugins
from sim.scenario.scenario import Scenario
from sim.scenario.settings import SteadyWindow

TREE: dict[str, Any] = {
    "workload": {"path": "t.csv"},
    "model": "llama-3.1-8b",
    "topology": "dgx_h100",
    "pools": {"serve": {}},
    "deployment": "aggregated",
    "measure": {"window": "steady"},
}


def changed(*overrides: str) -> Any:
    return Scenario.of(TREE, overrides).settings


def test_a_value_is_yaml() -> None:
    assert changed("slo.ttft_s=250 ms").slo.ttft_s == 0.25
    assert changed("slo={ttft_s: 1, tpot_s: 30 ms}").slo.tpot_s == 0.03
    assert changed("leap=false").leap is False


def test_mappings_on_the_way_are_made() -> None:
    assert changed("pools.serve.engine.max_num_seqs=7").pools["serve"].engine.max_num_seqs == 7
    assert changed("pools.more.engines=2").pools["more"].engines == 2


def test_the_given_tree_is_left_as_it_was() -> None:
    before = repr(TREE)
    changed("pools.serve.engines=3", "topology.nodes=2")
    assert repr(TREE) == before


def test_a_topology_given_by_name_takes_settings() -> None:
    topology = changed("topology.nodes=4").topology
    assert (topology.name, topology.nodes) == ("dgx_h100", 4)


def test_a_window_given_by_name_takes_settings() -> None:
    window = changed("measure.window.steady.to_share=0.8").measure.window
    assert isinstance(window, SteadyWindow)
    assert (window.steady.from_share, window.steady.to_share) == (0.2, 0.8)


def test_a_policy_given_by_name_takes_settings() -> None:
    deployment = changed("deployment.aggregated.router.prefix_affinity.slack_requests=3").deployment
    assert deployment.router.slack_requests == 3


def test_a_policy_without_settings_gives_way_to_another() -> None:
    made = changed("deployment.aggregated.router=random", "admission.limit.requests=9")
    assert plugins.name_of(made.deployment.router) == "random"
    assert made.admission.requests == 9


def test_a_policy_with_settings_is_changed_in_place() -> None:
    made = changed(
        "workload.arrivals={gamma: {rate_per_s: 2, cv: 3}}", "workload.arrivals.gamma.cv=4"
    )
    assert (made.workload.arrivals.rate_per_s, made.workload.arrivals.cv) == (2.0, 4.0)


def test_what_is_resolved_can_be_read_again() -> None:
    import yaml

    first = Scenario.of(TREE, ["pools.serve.layout={tensor: {tp: 2}}", "until_s=5 min"])
    again = Scenario.of(yaml.safe_load(first.to_yaml()))
    assert again.settings == first.settings


@pytest.mark.parametrize("text", ["seed=3", " seed =3", "seed= 3"])
def test_blanks_around_a_key_do_not_matter(text: str) -> None:
    assert changed(text).seed == 3
