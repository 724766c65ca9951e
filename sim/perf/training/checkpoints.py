"""Saving a trainer's state: how many bytes, how long training stands still, what a failure loses.

`blocking`: training waits until the file system has everything. `lazy` (DataStates-LLM, arXiv
2406.10707): states do not change between two updates, so they are copied to host memory behind the
next forward and backward pass and flushed from there; training waits for what is left of the copy,
and a checkpoint for the flush of the one before.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import sqrt
from typing import Annotated, Literal

from pydantic import Field

from sim.catalog.gpu import Gpu
from sim.errors import ScenarioError
from sim.perf.training.layout import TrainingLayout
from sim.perf.training.memory import ADAM_BYTES, WEIGHT_BYTES
from sim.perf.training.recipe import Recipe
from sim.perf.training.sizes import Params, Stage
from sim.settings import settings

Positive = Annotated[float, Field(gt=0)]

STATE_BYTES = WEIGHT_BYTES + ADAM_BYTES
"""Per trained parameter: 16-bit weights, and Adam's three numbers of 32 bit. arXiv 2104.04473,
section 5.10: 13.8 TB for 1,008B parameters."""


@settings
class Checkpoints:
    """How often and how states are saved."""

    interval_steps: Annotated[int, Field(ge=1)]
    """Optimiser steps from one checkpoint to the next."""
    mode: Literal["blocking", "lazy"] = "blocking"
    """Whether training waits for the file system, or only for the copy to host memory."""
    save_bytes_per_s: Positive = 273e9
    """Parallel file system, writing, all GPUs of the trainer together: arXiv 2104.04473, section
    5.10, 1 trillion parameters on 384 nodes."""
    load_bytes_per_s: Positive = 1e12
    """Reading: the same section."""
    pcie_fraction: Annotated[float, Field(gt=0, le=1)] = 0.8
    """Achieved part of PCIe bandwidth. assumed: large pinned copies."""


@dataclass(frozen=True, slots=True)
class StateBytes:
    """What a trainer saves, every state once."""

    per_gpu: float
    """Of the GPU that writes most."""
    total: float


@dataclass(frozen=True, slots=True)
class CheckpointCost:
    """One checkpoint among many."""

    stall_s: float
    """Training stands still."""
    durable_s: float
    """From the end of the step that it is of, until it would survive a failure."""


def state_bytes(stages: tuple[Stage, ...], layout: TrainingLayout, recipe: Recipe) -> StateBytes:
    """Of trained parameters. Sharded optimisers (`zero` 1 and above) are written by all replicas, a
    shard each; else by the first replica. Frozen weights are not saved."""
    sharded = recipe.zero >= 1

    def written(p: Params) -> float:
        if not sharded:
            return STATE_BYTES * p.total
        return STATE_BYTES * (p.dense / (layout.dp * layout.cp) + p.experts / layout.expert_dp)

    each = [written(s.trained) for s in stages]
    if sharded:
        return StateBytes(max(each), sum(each) * layout.stage_gpus)
    once = [s.trained.dense * layout.tp for s in stages]
    once += [s.trained.experts * layout.ep * layout.expert_tp for s in stages]
    return StateBytes(max(each), STATE_BYTES * sum(once))


def checkpoint_cost(
    settings: Checkpoints, gpu: Gpu, states: StateBytes, step_s: float, compute_s: float
) -> CheckpointCost:
    """Of one checkpoint in a steady run of steps of `step_s`, of which `compute_s` are forward and
    backward passes."""
    copy_s = states.per_gpu / (gpu.pcie_bytes_per_s * settings.pcie_fraction)
    flush_s = states.total / settings.save_bytes_per_s
    if settings.mode == "blocking":
        seconds = max(copy_s, flush_s)
        return CheckpointCost(seconds, seconds)
    exposed = max(0.0, copy_s - compute_s)
    busy = copy_s + flush_s - exposed - settings.interval_steps * step_s
    return CheckpointCost(exposed + max(0.0, busy), copy_s + flush_s)


def load_s(settings: Checkpoints, gpu: Gpu, states: StateBytes) -> float:
    """Seconds to bring a checkpoint back to all GPUs."""
    rate = gpu.pcie_bytes_per_s * settings.pcie_fraction
    return max(states.per_gpu / rate, states.total / settings.load_bytes_per_s)


def lost_s(
    settings: Checkpoints, cost: CheckpointCost, step_s: float, since_s: float, saved: int
) -> float:
    """Work that a failure loses, `since_s` after the last of `saved` checkpoints was begun (or the
    run, where there is none): back to it, or to the one before where it is not yet durable."""
    if since_s >= cost.durable_s or not saved:
        return since_s
    return since_s + settings.interval_steps * step_s + cost.stall_s * (saved > 1)


def best_interval_steps(cost: CheckpointCost, step_s: float, mtbf_s: float) -> int:
    """√(2·stall·MTBF) in steps (Young 1974): where stalls and lost work cost as much."""
    if min(step_s, mtbf_s) <= 0.0:
        raise ScenarioError(
            f"checkpoints: step_s={step_s} and mtbf_s={mtbf_s} must be positive; measure a step"
        )
    return max(1, round(sqrt(2.0 * cost.stall_s * mtbf_s) / step_s))
