"""Weights between training and generation layouts: bytes, memory, wires."""

from __future__ import annotations

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from sim.catalog.gpu import load_gpu
from sim.errors import ScenarioError
from sim.network.topology import load_topology
from sim.perf.training import TrainingLayout, TrainingMemory
from sim.perf.training.reshard import (
    Engines,
    full_gather_bytes,
    micro_group_bytes,
    nested_engines,
    reshard,
)
from sim.perf.training.sleep import Sleep, asleep
from sim.perf.training.transfers import Transfer, alone_s, device_bytes, overlaps

M = 64e9
POWERS = st.sampled_from([1, 2, 4, 8])


def neighbours(layout: TrainingLayout, width: int) -> Engines:
    return tuple(tuple(range(i, i + width)) for i in range(0, layout.gpus, width))


@given(POWERS, POWERS, POWERS, POWERS, st.sampled_from([1, 2, 3]))
def test_micro_groups_receive_what_hybridflow_says(
    t: int, p: int, t_g: int, p_g: int, d: int
) -> None:
    assume(t_g <= t and p_g <= p)
    layout = TrainingLayout(tp=t, pp=p, dp=d)
    engines = nested_engines(layout, t_g, p_g)
    assert sorted(x for e in engines for x in e) == list(range(layout.gpus))
    made = reshard(layout, engines, t_g, dense_bytes=M)
    assert made.received_bytes == pytest.approx(micro_group_bytes(M, p, t, p_g, t_g))
    assert made.peak_bytes == pytest.approx(M / (t_g * p_g))
    assert made.redundant_bytes == pytest.approx(0.0, abs=1e-3)


@given(POWERS, POWERS, POWERS, st.sampled_from([1, 2]))
def test_every_device_ends_with_its_whole_generation_shard(
    t: int, p: int, width: int, d: int
) -> None:
    layout = TrainingLayout(tp=t, pp=p, dp=d)
    assume(layout.gpus % width == 0)
    made = reshard(layout, neighbours(layout, width), width, dense_bytes=M)
    received = device_bytes(made.transfers)[1]
    shard = M / (t * p)
    for device in range(layout.gpus):
        kept = M / width - received.get(device, 0.0)
        assert -1e-3 <= kept <= min(shard, M / width) + 1e-3


def test_neighbouring_engines_keep_shards_twice_and_receive_more() -> None:
    """arXiv 2409.19256, figure 8(a): training tp 8, generation tp 2."""
    layout = TrainingLayout(tp=8, dp=2)
    plain = reshard(layout, neighbours(layout, 2), 2, dense_bytes=M)
    nested = reshard(layout, nested_engines(layout, 2), 2, dense_bytes=M)
    assert plain.redundant_bytes == pytest.approx(M / 8)
    assert nested.redundant_bytes == 0.0
    assert nested.received_bytes < plain.received_bytes < full_gather_bytes(M, 1, 8)


def test_experts_move_by_their_own_cut() -> None:
    """Eight expert groups in training, engines of eight with an eighth of the experts each: only
    dense weights move."""
    layout = TrainingLayout(tp=1, dp=8, ep=8)
    made = reshard(layout, (tuple(range(8)),), 8, dense_bytes=8e9, expert_bytes=56e9)
    assert not made.transfers
    spread = TrainingLayout(tp=1, pp=2, dp=8, ep=8)
    engines = neighbours(spread, 8)
    half = reshard(spread, engines, 8, dense_bytes=0.0, expert_bytes=56e9)
    assert half.received_bytes == pytest.approx(56e9 / 16)


def test_a_trainer_apart_sends_all_from_its_replicas_in_turn() -> None:
    layout = TrainingLayout(tp=2, dp=2)
    engines = ((10, 11), (12, 13))
    made = reshard(layout, engines, 2, dense_bytes=M, devices=(0, 1, 2, 3))
    sent, received = device_bytes(made.transfers)
    assert received == dict.fromkeys((10, 11, 12, 13), M / 2)
    assert sent == dict.fromkeys((0, 1, 2, 3), M / 2)


def test_engines_that_do_not_nest_are_refused() -> None:
    with pytest.raises(ScenarioError, match="tp=8, pp=1 do not divide training's tp=4"):
        nested_engines(TrainingLayout(tp=4, pp=2), 8)


def test_a_reshard_inside_a_node_runs_at_the_speed_of_nvlink() -> None:
    topology, layout = load_topology("dgx_h100", nodes=1), TrainingLayout(tp=8)
    made = reshard(layout, nested_engines(layout, 2), 2, dense_bytes=M)
    wire = made.received_bytes / topology.route(0, 1).bytes_per_s
    assert alone_s(topology, made.transfers) == pytest.approx(wire, rel=1e-3)
    assert alone_s(topology, made.transfers, 0.5) == pytest.approx(2 * wire, rel=1e-3)


@given(st.integers(1, 12), st.integers(1, 12))
def test_overlaps_cover_the_whole_once(sources: int, destinations: int) -> None:
    parts = list(overlaps(sources, destinations))
    assert sum(x for _, _, x in parts) == pytest.approx(1.0)
    for j in range(destinations):
        assert sum(x for _, k, x in parts if k == j) == pytest.approx(1 / destinations)
    for i in range(sources):
        assert sum(x for k, _, x in parts if k == i) == pytest.approx(1 / sources)


def test_transfers_wait_for_those_before_them_and_share_wires() -> None:
    topology = load_topology("dgx_h100", nodes=1)
    rate = topology.route(0, 1).bytes_per_s
    one = Transfer(((0, 1),), rate)
    chain = (one, Transfer(((1, 2),), rate, after=(0,)))
    assert alone_s(topology, (one,)) == pytest.approx(1.0, rel=1e-3)
    assert alone_s(topology, chain) == pytest.approx(2.0, rel=1e-3)
    assert alone_s(topology, (one, Transfer(((0, 2),), rate / 2))) == pytest.approx(1.5, rel=1e-3)


def test_a_sleeping_trainer_gives_up_its_states_for_two_trips_over_pcie() -> None:
    gpu = load_gpu("h100")
    memory = TrainingMemory(0, 8e9, 16e9, 24e9, 10e9, 4e9, gpu.hbm_bytes)
    states = asleep(Sleep(), memory, gpu)
    assert states.out_s == states.back_s == pytest.approx(24e9 / (0.8 * gpu.pcie_bytes_per_s))
    assert states.left_bytes == pytest.approx(12e9)
    assert asleep(Sleep(weights=True), memory, gpu).left_bytes == pytest.approx(4e9)
    with pytest.raises(ScenarioError, match="take nothing"):
        asleep(Sleep(optimizer=False), memory, gpu)
