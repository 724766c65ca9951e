"""Closed forms of reinforcement-learning loops and weight syncs."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sim.catalog.gpu import load_gpu
from sim.catalog.model import load_model
from sim.errors import ScenarioError
from sim.network.topology import load_topology
from sim.perf.training.asynchrony import (
    admissible,
    asynchronous_s,
    end_to_end_bound,
    exposed_generation_s,
    mean_staleness,
    one_step_off_s,
    sample_staleness,
    synchronous_s,
)
from sim.perf.training.weight_sync import WeightSync, sync_s, tensor_count, wire_bytes


@pytest.mark.parametrize(
    "generation, step, alpha, share, bound",
    [(133.6, 185.3, 2.77, 0.721, 1.85), (100.0, 151.2, 3.32, 0.661, 1.86)],
)
def test_free_drafting_bounds_the_step(
    generation: float, step: float, alpha: float, share: float, bound: float
) -> None:
    """arXiv 2604.26779: RL-Think and RL-Zero, k = 3."""
    assert generation / step == pytest.approx(share, abs=5e-4)
    assert end_to_end_bound(generation / step, alpha) == pytest.approx(bound, abs=0.006)
    gained = step / (step - generation + generation / alpha)
    assert end_to_end_bound(generation / step, alpha) == pytest.approx(gained)


def test_a_share_above_one_is_refused() -> None:
    with pytest.raises(ScenarioError, match=r"generation_share=1\.2"):
        end_to_end_bound(1.2, 2.0)


@given(st.integers(0, 50), st.integers(1, 64), st.integers(0, 8), st.integers(0, 4000))
def test_admission_lets_in_exactly_what_the_inequality_allows(
    version: int, batch: int, staleness: int, submitted: int
) -> None:
    more = admissible(version, batch, staleness, submitted)
    allowed = [n for n in range(1, 5000) if (n - 1) // batch <= version + staleness]
    assert more == max(0, len(allowed) - submitted)


def played_staleness(batch: int, rate: float, rollout: float, train: float) -> list[int]:
    """The same loop, event by event: staleness of the samples of a late step."""
    period, late = batch / rate, 400
    updates = [k * period + train for k in range(1, late + 1)]
    out = []
    for j in range(batch):
        began = late * period - (batch - 1 - j) / rate - rollout
        out.append(late - 1 - sum(u <= began + 1e-9 for u in updates))
    return out


@given(st.integers(1, 12), st.floats(0.5, 8.0), st.floats(0.0, 20.0), st.floats(0.05, 1.0))
def test_staleness_of_a_steady_loop(batch: int, rate: float, rollout: float, part: float) -> None:
    train = part * batch / rate
    ages = [(w / rate + rollout + train) * rate / batch for w in range(batch)]
    if any(abs(a - round(a)) < 1e-6 for a in ages):
        return
    formula = [sample_staleness(j, batch, rate, rollout, train) for j in range(batch)]
    assert formula == played_staleness(batch, rate, rollout, train)
    assert mean_staleness(batch, rate, rollout, train) == pytest.approx(sum(formula) / batch)


def test_a_batch_that_fits_between_updates_is_on_policy() -> None:
    assert sample_staleness(3, 4, 1.0, 1.0, 1.0) == 0
    assert sample_staleness(0, 4, 1.0, 9.0, 1.0) == math.ceil(13 / 4) - 1


def test_a_trainer_slower_than_rollouts_has_no_steady_staleness() -> None:
    with pytest.raises(ScenarioError, match=r"train_s=5\.0"):
        sample_staleness(0, 4, 1.0, 1.0, 5.0)


def test_asynchrony_hides_the_shorter_side() -> None:
    assert synchronous_s(100.0, 30.0, 5.0, 1.0) == 136.0
    assert one_step_off_s(100.0, 30.0, 1.0) == 101.0
    assert asynchronous_s(512, 8.0, 30.0, 0.5) == 64.5
    assert exposed_generation_s(100.0, 30.0) == 70.0
    assert exposed_generation_s(20.0, 30.0) == 0.0


ENGINES = tuple(tuple(range(8 * i, 8 * i + 8)) for i in range(1, 5))


@pytest.mark.parametrize(
    "by, expected", [("sender", 4.0), ("striped", 0.5), ("relay", (1 + 3 / 64) / 8)]
)
def test_bytes_on_the_busiest_link(by: str, expected: float) -> None:
    """Four engines of eight GPUs, eight senders; in units of the weights."""
    assert wire_bytes(WeightSync(by=by), 1.0, 8, ENGINES) == pytest.approx(expected)


def test_a_sync_is_bytes_over_the_route_and_tensors_times_their_overhead() -> None:
    topology, gpu = load_topology("dgx_h100", nodes=5), load_gpu("h100")
    sync = WeightSync(by="sender", per_tensor_s=1e-4, reload_s=0.3, wire_fraction=0.8)
    made = sync_s(sync, gpu, topology, params=8e9, tensors=1000, senders=(0,), engines=ENGINES[:1])
    assert made.wire_s == pytest.approx(16e9 / (topology.route(0, 8).bytes_per_s * 0.8))
    assert made.seconds == pytest.approx(made.wire_s + 0.1 + 0.3)


def test_fewer_bytes_may_take_longer() -> None:
    """Many small experts: quantising each costs more than the bytes it saves (NeMo-RL, 30B)."""
    topology, gpu, model = load_topology("dgx_h100", nodes=2), load_gpu("h100"), "qwen3-30b-a3b"
    count = tensor_count(load_model(model))
    assert count == 18867
    seconds = [
        sync_s(
            sync, gpu, topology, params=30.5e9, tensors=count,
            senders=tuple(range(8)), engines=ENGINES[:1],
        ).seconds
        for sync in (WeightSync(), WeightSync(bytes_per_param=1.0, quantise="sender"))
    ]  # fmt: skip
    assert seconds[1] > 2 * seconds[0]
