"""What a step's gradients and weights put on the wires: the rings of its data-parallel groups.

Seconds are those of the step's own pricing; here are the bytes that take them, so that other
traffic on the same links can slow them down."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from sim.network.topology import Topology
from sim.perf.training.memory import WEIGHT_BYTES
from sim.perf.training.outcome import TrainingStep
from sim.perf.training.recipe import Recipe
from sim.perf.training.step import Trainer
from sim.perf.training.transfers import Pair, Transfer, grouped
from sim.perf.training.update import exchanges


@dataclass(frozen=True, slots=True)
class Traffic:
    """One optimiser step's exchanges, all groups together."""

    transfers: tuple[Transfer, ...]
    seconds: float
    """Alone on the wires, as priced."""

    def begins_s(self, step: TrainingStep) -> float:
        """When it starts, so that alone it ends with what the step exposes of it behind the
        pipeline."""
        return max(0.0, step.pipeline_s + step.gradients_s + step.weights_s - self.seconds)


def step_traffic(
    trainer: Trainer, topology: Topology, devices: Sequence[int], micro_batches: int = 1
) -> Traffic:
    """Of one optimiser step. With sharded weights (`zero: 3`) every micro-batch gathers and
    reduces: `micro_batches` of them."""
    layout, recipe = trainer.layout, trainer.recipe
    times = micro_batches if recipe.zero == 3 else 1
    most, moved = 0.0, dict[Pair, float]()
    for i, part in enumerate(trainer.stages):
        layers = max(1, sum(part.layers.values()))
        each = exchanges(trainer.wires, recipe, part.held, part.trained, layers)
        most = max(most, times * (each.gradients_s + each.weights_s))
        stage = devices[i * layout.stage_gpus : (i + 1) * layout.stage_gpus]
        shards = (
            (layout.tp, part.held.dense, part.trained.dense),
            (layout.ep * layout.expert_tp, part.held.experts, part.trained.experts),
        )
        for width, held, trained in shards:
            nbytes = times * _ring_bytes(recipe, held, trained)
            for first in range(width if nbytes else 0):
                for pair, share in _rings(topology, stage[first::width]):
                    moved[pair] = moved.get(pair, 0.0) + share * nbytes
    return Traffic(grouped(moved), most)


def _ring_bytes(recipe: Recipe, held: float, trained: float) -> float:
    """Bytes that go once round the ring of a group: gradients twice (reduce, gather), or once and
    the weights once (sharded states), or weights for every pass (sharded weights)."""
    gradients = recipe.gradient_bytes * trained
    if recipe.zero == 0:
        return 2.0 * gradients
    if recipe.zero < 3:
        return gradients + (WEIGHT_BYTES * trained if trained else 0.0)
    return gradients + (recipe.forwards + recipe.trains) * WEIGHT_BYTES * held


def _rings(topology: Topology, members: Sequence[int]) -> Iterator[tuple[Pair, float]]:
    """(pair, share of the bytes that go round): a ring per member in a node, each entering and
    leaving nodes at another device, as NCCL lays its channels."""
    if len(members) < 2:
        return
    nodes: dict[int, list[int]] = {}
    for device in members:
        nodes.setdefault(topology.devices[device].node, []).append(device)
    channels = min(map(len, nodes.values())) if len(nodes) > 1 else 1
    share = (len(members) - 1) / len(members) / channels
    for c in range(channels):
        ring = [d for mine in nodes.values() for d in mine[c:] + mine[:c]]
        for i, device in enumerate(ring):
            yield (device, ring[(i + 1) % len(ring)]), share
