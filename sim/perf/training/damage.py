"""What the failure of one of a trainer's GPUs meets: the bridge from a trainer to `recoveries/`."""

from __future__ import annotations

from sim.network.topology import Topology
from sim.perf.training.checkpoints import Checkpoints, load_s, state_bytes
from sim.perf.training.memory import ADAM_BYTES, WEIGHT_BYTES
from sim.perf.training.recoveries import Damage
from sim.perf.training.recovery import rebalanced_layers, rebalanced_speed
from sim.perf.training.step import Trainer


def damage(
    made: Trainer,
    topology: Topology,
    devices: tuple[int, ...],
    checkpoints: Checkpoints | None,
    lost_s: float,
    position: int,
) -> Damage:
    """Of the GPU at a position of the trainer on `devices`; `lost_s` by `checkpoints.lost_s`.
    Without checkpoints there is nothing to load."""
    layout, stages = made.layout, made.stages
    failed = position // layout.stage_gpus
    layers = len(made.model.layers)
    neighbour = (failed + 1) % layout.pp * layout.stage_gpus + position % layout.stage_gpus
    if layout.pp == 1:
        neighbour = (position + layout.tp * layout.cp) % layout.gpus
    route = topology.route(devices[position], devices[neighbour])
    states = state_bytes(stages, layout, made.recipe)
    return Damage(
        lost_s=lost_s,
        load_s=0.0 if checkpoints is None else load_s(checkpoints, made.gpu, states),
        stage_bytes=WEIGHT_BYTES * stages[failed].held.total,
        moved_bytes=_moved_bytes(made, failed, layers) if layout.dp > 1 else 0.0,
        link_bytes_per_s=route.bytes_per_s,
        speed=rebalanced_speed(layers, layout.pp, layout.dp) if layout.dp > 1 else 0.0,
    )


def _moved_bytes(made: Trainer, failed: int, layers: int) -> float:
    """Most that one device takes over: its new layers' weights and its shard of their states."""
    layout, stage = made.layout, made.stages[failed]
    before = [sum(len(chunk) for chunk in chunks) for chunks in layout.layers_of(made.model)]
    after = rebalanced_layers(layers, layout.pp, layout.dp, failed)
    most = max(0, *(b - a for a, b in zip(before, after, strict=True)))
    shard = layout.dp * layout.cp if made.recipe.zero else 1
    each = WEIGHT_BYTES * stage.held.total + ADAM_BYTES * stage.trained.total / shard
    return most * each / before[failed]
