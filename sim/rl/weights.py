"""New weights on their way from the trainer to the engines, worked out before time exists."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sim.catalog.counting import routed_params, total_params
from sim.catalog.gpu import Gpu
from sim.errors import ScenarioError
from sim.network.topology import Topology
from sim.perf.memory import Memory
from sim.perf.spread import Spread
from sim.perf.training import Trainer, TrainingLayout, training_memory
from sim.perf.training.batch import MicroBatch
from sim.perf.training.reshard import reshard
from sim.perf.training.sleep import asleep
from sim.perf.training.sync_plan import SyncPlan, plan_sync
from sim.perf.training.transfers import Transfer
from sim.rl.sent import Sent
from sim.rl.settings import RlSettings
from sim.units import human_bytes

WEIGHT_BYTES = 2.0
"""Of a parameter in 16 bit, as trainers keep it."""

Devices = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Generating:
    """A pool that rolls out."""

    name: str
    gpu: Gpu
    spread: Spread
    memory: Memory
    devices: tuple[Devices, ...]
    """By engine."""
    utilization: float
    """Share of a GPU's memory that its engines use."""
    block_tokens: int
    """Of its prefix blocks; 0 where it keeps none."""
    longest_tokens: int
    """Context that it serves."""
    draft_params: float = 0.0
    """Parameters of what drafts on its engines and is fitted to the policy: sent with it."""


def synced(
    s: RlSettings,
    what: Sent,
    gpu: Gpu,
    topology: Topology,
    pools: Sequence[Generating],
    devices: Devices,
) -> SyncPlan:
    """From a trainer apart to all engines. Sets of devices that hold the whole model between them
    send to engines in turn."""
    w, engines = s.weight_sync, tuple(e for p in pools for e in p.devices)
    groups = _holders(s.trainer.layout, devices)
    params = what.params + what.draft_params
    if w.by != "striped":
        groups = groups[:1]
    gathered = params if w.by == "sender" and len(groups[0]) > 1 else 0.0
    plans = [
        plan_sync(
            w, gpu, topology, params=params, tensors=what.tensors, senders=senders,
            engines=engines[i :: len(groups)], gathered_params=gathered,
        )
        for i, senders in enumerate(groups[: len(engines)])
    ]  # fmt: skip
    turns = max(len(p.rounds) for p in plans)
    rounds = tuple(
        tuple(t for p in plans if turn < len(p.rounds) for t in p.rounds[turn])
        for turn in range(turns)
    )
    return SyncPlan(
        before_s=max(p.before_s for p in plans),
        rounds=rounds,
        wire_fraction=w.wire_fraction,
        pull_s=plans[0].pull_s,
        after_s=plans[0].after_s,
        sending_rounds=max(p.sending_rounds for p in plans),
    )


def _holders(layout: TrainingLayout, devices: Devices) -> tuple[Devices, ...]:
    """Sets of devices each of which holds every weight once or more: neighbours of every stage,
    as many as a layer's dense matrices, and its experts, are cut over."""
    width = max(layout.tp, layout.ep * layout.expert_tp)
    stage = layout.stage_gpus
    return tuple(
        tuple(devices[k * stage + first + i] for k in range(layout.pp) for i in range(width))
        for first in range(0, stage - width + 1, width)
    )


def reshards(
    s: RlSettings,
    made: Trainer,
    topology: Topology,
    pools: Sequence[Generating],
    devices: Devices,
    fullest: int,
) -> tuple[SyncPlan, SyncPlan]:
    """(into training, into generation) of a colocated trainer: its states wake and sleep over PCIe,
    and engines gather what their layout asks for (HybridFlow, arXiv 2409.19256, section 5).

    ScenarioError where engines leave no room for what stays on the GPU.
    """
    layout, model, gpu = made.layout, made.model, made.gpu
    micro = MicroBatch((fullest,))
    memory = training_memory(model, layout, made.recipe, gpu, micro, 4 * layout.pp, made.stages)
    sleeping = asleep(s.trainer.sleep, memory, gpu)
    for pool in pools:
        used = pool.utilization * pool.memory.gpu_bytes
        if used + sleeping.left_bytes > pool.memory.gpu_bytes:
            most = 1.0 - sleeping.left_bytes / pool.memory.gpu_bytes
            raise ScenarioError(
                f"pools.{pool.name}.engine.gpu_memory_utilization: {pool.utilization:g} leaves "
                f"{human_bytes(pool.memory.gpu_bytes - used)} of a GPU, and the colocated trainer "
                f"keeps {human_bytes(sleeping.left_bytes)} on it while it sleeps; write "
                f"{max(0.05, int(100 * most) / 100):g} or less, or rl.trainer.sleep with weights "
                "and optimizer true"
            )
    experts = WEIGHT_BYTES * routed_params(model)
    dense = WEIGHT_BYTES * total_params(model) - experts
    moved: list[Transfer] = []
    for pool in pools:
        tp = pool.spread.devices // pool.spread.stages
        found = reshard(
            layout, pool.devices, tp, dense_bytes=dense, expert_bytes=experts, devices=devices
        )
        moved += found.transfers
    out = SyncPlan(
        before_s=sleeping.out_s,
        rounds=(tuple(moved),) if moved else (),
        wire_fraction=s.weight_sync.wire_fraction,
        after_s=s.weight_sync.reload_s,
    )
    return SyncPlan(before_s=sleeping.back_s), out
