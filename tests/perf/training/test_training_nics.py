"""Nodes whose networks do not speak to each other, and stages of unequal speed."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sim.catalog.gpu import load_gpu
from sim.catalog.model import DenseFfn, GroupedAttention, Layer, Model
from sim.errors import ScenarioError
from sim.network.machine import read_machine
from sim.network.topology import Topology, build_topology
from sim.perf.training import Recipe, TrainingLayout, TrainingStep, even_batch, trainer
from sim.perf.training.layout import layers_by_speed
from sim.perf.training.nics import Nics

KINDS = ("infiniband", "roce", "infiniband", "roce")
"""Four nodes as a naive list of hosts has them."""


@cache
def mixed() -> Topology:
    """Four A100 nodes, 200 Gbit/s per GPU whatever the network."""
    _, machine = read_machine("dgx_a100")
    return build_topology("mixed", replace(machine, groups=(replace(machine.groups[0], nodes=4),)))


@cache
def gpt() -> Model:
    layer = Layer(GroupedAttention(32, 32, 96, qkv_bias=True), DenseFfn(12288, gated=False))
    return Model("gpt", 3072, 51200, (layer,) * 30, False, 2048, "a test: 3.6B")


def step(nics: Nics | None, devices: tuple[int, ...] | None = None) -> TrainingStep:
    """Two stages of 16 replicas; the model's 7 GB of gradients a stage against activations of few
    micro-batches, which may cross while a stage computes."""
    made = trainer(
        gpt(), load_gpu("a100-80"), mixed(), TrainingLayout(pp=2, dp=16),
        Recipe(zero=1, p2p_overlap=True), devices=devices, nics=nics,
    )  # fmt: skip
    return made.plan(even_batch(384, 2048, 2, 16))


def test_stages_inside_one_network_lose_only_the_sends_between_them() -> None:
    """arXiv 2312.03549: naive groups fall to Ethernet for every data-parallel collective; placed by
    network the step is close to that of one network for all."""
    nics = Nics(nodes=KINDS)
    whole, naive = step(None), step(nics)
    placed = step(nics, nics.together(mixed()))
    bare = step(Nics(nodes=("ethernet",) * 4))
    assert placed.seconds < 1.06 * whole.seconds
    assert placed.gradients_s == pytest.approx(whole.gradients_s)
    assert placed.pipeline_s > whole.pipeline_s == pytest.approx(naive.pipeline_s)
    assert naive.gradients_s + naive.weights_s > 8 * (placed.gradients_s + placed.weights_s)
    assert placed.seconds < naive.seconds < bare.seconds


def test_one_network_for_all_is_the_topologys() -> None:
    assert step(Nics(nodes=("roce",) * 4)) == step(None)


def test_placement_by_network_keeps_nodes_whole() -> None:
    order = Nics(nodes=KINDS).together(mixed())
    assert order == (*range(8), *range(16, 24), *range(8, 16), *range(24, 32))


def test_every_node_needs_a_network() -> None:
    with pytest.raises(ScenarioError, match="2 nodes are named and topology 'mixed' has more"):
        step(Nics(nodes=("roce", "roce")))


@given(st.lists(st.floats(0.2, 3.0), min_size=1, max_size=6), st.integers(0, 60))
def test_layers_follow_speed_as_far_as_they_are_whole(speeds: list[float], more: int) -> None:
    """No single move of a layer would make the slowest stage quicker."""
    layers = len(speeds) + more
    given_ = layers_by_speed(layers, speeds)
    assert sum(given_) == layers
    assert min(given_) >= 1
    times = [n / s for n, s in zip(given_, speeds, strict=True)]
    slowest = max(range(len(speeds)), key=times.__getitem__)
    if given_[slowest] > 1:
        moved = [(n + 1) / s for i, (n, s) in enumerate(zip(given_, speeds, strict=True))
                 if i != slowest]  # fmt: skip
        assert all(t >= times[slowest] - 1e-9 for t in moved)


def test_a_stage_half_as_fast_gets_half_as_many_layers() -> None:
    assert layers_by_speed(36, (1.0, 0.5)) == (24, 12)
    assert layers_by_speed(30, (1.0, 1.0)) == (15, 15)
