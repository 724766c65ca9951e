"""Colocated trainers asleep: states in host memory while engines generate on the same GPUs.

veRL's `param_offload`, `grad_offload` and `optimizer_offload` of Megatron and FSDP workers do this,
and so do Miles and slime; gradients need no copy, their room is given up (they are zero between
steps).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from pydantic import Field

from sim.catalog.gpu import Gpu
from sim.errors import ScenarioError
from sim.perf.training.memory import TrainingMemory
from sim.settings import settings
from sim.units import human_bytes


@settings
class Sleep:
    """What a trainer takes off the GPU while others use it."""

    weights: bool = False
    """Its 16-bit training shard; engines hold weights of their own."""
    optimizer: bool = True
    """32-bit weights and moments."""
    pcie_fraction: Annotated[float, Field(gt=0, le=1)] = 0.8
    """Achieved part of PCIe bandwidth. assumed: large pinned copies, packet overhead off."""


@dataclass(frozen=True, slots=True)
class Asleep:
    """A trainer's device while it sleeps."""

    out_s: float
    """To host memory, before engines may take the room."""
    back_s: float
    """And in again, before training."""
    left_bytes: float
    """What stays on the GPU: states that are not taken off, and the reserve."""


def asleep(sleep: Sleep, memory: TrainingMemory, gpu: Gpu) -> Asleep:
    """Of the fullest device of a trainer; activations and gradients are given up for nothing.

    Raises ScenarioError where nothing would be taken off.
    """
    moved = memory.weight_bytes * sleep.weights + memory.optimizer_bytes * sleep.optimizer
    if moved <= 0.0:
        raise ScenarioError(
            f"trainer sleep: weights={sleep.weights}, optimizer={sleep.optimizer} take nothing of "
            f"{human_bytes(memory.optimizer_bytes)} of optimiser states off the GPU; "
            "set one of them, or leave sleep out"
        )
    seconds = moved / (gpu.pcie_bytes_per_s * sleep.pcie_fraction)
    kept = memory.weight_bytes + memory.optimizer_bytes - moved
    return Asleep(seconds, seconds, kept + memory.reserve_bytes)
