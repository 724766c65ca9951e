"""Weight syncs as bytes on routes: what arrives, and that closed forms are their time alone."""

from __future__ import annotations

from typing import Any

import pytest

from sim.catalog.gpu import load_gpu
from sim.errors import ScenarioError
from sim.network.topology import load_topology
from sim.perf.training.sync_plan import SyncPlan, plan_sync
from sim.perf.training.transfers import device_bytes
from sim.perf.training.weight_sync import WeightSync, sync_s

GPU = load_gpu("h100")
PARAMS, TENSORS = 8e9, 400


def engines(n: int, width: int, first: int) -> tuple[tuple[int, ...], ...]:
    return tuple(tuple(range(first + i * width, first + (i + 1) * width)) for i in range(n))


def case(senders: int, n: int, width: int) -> dict[str, Any]:
    first = 8 * -(-senders // 8)
    topology = load_topology("dgx_h100", nodes=first // 8 + -(-n * width // 8))
    return {
        "topology": topology, "params": PARAMS, "tensors": TENSORS,
        "senders": tuple(range(senders)), "engines": engines(n, width, first),
    }  # fmt: skip


def planned(sync: WeightSync, given: dict[str, Any]) -> SyncPlan:
    return plan_sync(sync, GPU, **given)


CASES = [(8, 1, 8), (8, 4, 8), (16, 4, 8), (4, 2, 8), (64, 8, 8), (1, 3, 4)]


@pytest.mark.parametrize("by", ["sender", "striped", "relay"])
@pytest.mark.parametrize("senders, n, width", CASES)
def test_the_closed_form_is_the_plan_alone_on_the_wires(
    by: Any, senders: int, n: int, width: int
) -> None:
    sync, given = WeightSync(by=by, pieces=32), case(senders, n, width)
    plan, closed = planned(sync, given), sync_s(sync, GPU, **given)
    assert plan.wire_s(given["topology"]) == pytest.approx(closed.wire_s, rel=1e-3)
    around = plan.before_s + plan.after_s
    assert around == pytest.approx(closed.seconds - closed.wire_s)


@pytest.mark.parametrize("by", ["sender", "striped", "relay"])
@pytest.mark.parametrize("senders, n, width", [*CASES, (8, 16, 2), (3, 2, 4), (5, 3, 8)])
def test_every_engine_receives_the_weights_once(by: Any, senders: int, n: int, width: int) -> None:
    given = case(senders, n, width)
    plan = planned(WeightSync(by=by, pieces=7), given)
    received = device_bytes(plan.transfers)[1]
    for engine in given["engines"]:
        assert [received[d] for d in engine] == pytest.approx([2 * PARAMS / width] * width)
    assert plan.nbytes == pytest.approx(2 * PARAMS * n)


def test_relays_of_one_node_pass_pieces_on_over_nvlink() -> None:
    """Four engines a node: the closed form, which takes the slowest route for all, is a bound."""
    given, sync = case(8, 16, 2), WeightSync(by="relay", pieces=32)
    alone = planned(sync, given).wire_s(given["topology"])
    closed = sync_s(sync, GPU, **given).wire_s
    assert 0.9 * closed < alone < closed


def test_a_relay_sends_once_what_a_sender_sends_to_every_engine() -> None:
    given = case(8, 8, 8)
    sent = [
        device_bytes(planned(WeightSync(by=by), given).transfers)[0]
        for by in ("sender", "striped", "relay")
    ]
    assert [max(s.values()) / PARAMS for s in sent] == pytest.approx([16, 2, 0.25])


@pytest.mark.parametrize("pieces, n", [(1, 4), (2, 4), (64, 4), (4, 1)])
def test_a_chain_of_relays_fills_and_drains(pieces: int, n: int) -> None:
    """n + pieces − 1 turns of one piece each, as in any pipeline."""
    given = case(8, n, 8)
    sync = WeightSync(by="relay", pieces=pieces)
    rate = given["topology"].route(0, 8).bytes_per_s * sync.wire_fraction
    turns = (n + pieces - 1) * (2 * PARAMS / 8 / pieces) / rate
    assert planned(sync, given).wire_s(given["topology"]) == pytest.approx(turns, rel=1e-3)


def test_engines_that_pull_take_their_share_over_pcie() -> None:
    given = case(8, 4, 8)
    plan = planned(WeightSync(by="relay", pull=True), given)
    assert plan.pull_s == pytest.approx(2 * PARAMS / 8 / (0.8 * GPU.pcie_bytes_per_s))
    with pytest.raises(ScenarioError, match="by='striped' has none"):
        planned(WeightSync(pull=True), given)


def test_a_sparse_sync_sends_what_changed_and_where() -> None:
    given = case(8, 4, 8)
    whole, sparse = (planned(WeightSync(sparse_share=x), given) for x in (1.0, 0.1))
    assert sparse.nbytes == pytest.approx(0.1 * (2 + 4) / 2 * whole.nbytes)
    assert sparse.before_s > whole.before_s == 0.0


def test_quantising_at_the_receiver_sends_16_bit() -> None:
    given = case(8, 4, 8)
    here, there = (
        planned(WeightSync(bytes_per_param=1.0, quantise=q), given) for q in ("sender", "receiver")
    )
    assert there.nbytes == 2 * here.nbytes
    assert here.before_s > 0.0 == there.before_s
    assert there.after_s > here.after_s


def test_gathering_tensor_by_tensor_costs_a_collective_each() -> None:
    given = case(16, 2, 8) | {"gathered_params": PARAMS}
    whole, each = (planned(WeightSync(gather=g), given).before_s for g in ("whole", "tensors"))
    many = planned(WeightSync(gather="tensors"), given | {"tensors": 40_000}).before_s
    assert whole > 0.0
    assert many > 3 * each > 0.0
