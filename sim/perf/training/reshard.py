"""Colocated engines: the same GPUs hold a training shard, then a generation shard of the weights.

HybridFlow's 3D-HybridEngine (arXiv 2409.19256, section 5): training cuts a model of M bytes over p
stages and t positions, generation over p_g and t_g. Where every device generates with a shard that
contains its training shard, the d_g = p·t/(p_g·t_g) devices of a *micro data-parallel group* pass
their training shards to each other, and none is kept twice. Any other placement of engines works
too, and costs what the overlaps of shards leave.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import lcm

from sim.errors import ScenarioError
from sim.perf.training.layout import TrainingLayout
from sim.perf.training.transfers import Pair, Transfer, device_bytes, grouped

Engines = tuple[tuple[int, ...], ...]
"""Devices of every engine, pipeline stage by pipeline stage, tensor-parallel position inside."""


def micro_group_bytes(weights: float, p: int, t: int, p_g: int, t_g: int) -> float:
    """Received per GPU within micro data-parallel groups: (t·p − t_g·p_g)/(t_g·p_g·t·p)·M (arXiv
    2409.19256, table 2)."""
    return (t * p - t_g * p_g) / (t_g * p_g * t * p) * weights


def full_gather_bytes(weights: float, p: int, t: int) -> float:
    """Received per GPU where all shards are gathered first: (t·p − 1)/(t·p)·M (the same table,
    HybridFlow-V: engines of neighbouring devices)."""
    return (t * p - 1) / (t * p) * weights


@dataclass(frozen=True, slots=True)
class Reshard:
    """From training to generation, on the wires and in memory. Nothing moves on the way back:
    training shards are kept."""

    transfers: tuple[Transfer, ...]
    """All side by side."""
    generation_bytes: float
    """Weights that an engine's device generates with."""
    redundant_bytes: float
    """Largest part of a training shard outside of its device's generation shard: kept besides."""

    @property
    def received_bytes(self) -> float:
        """Most that a device receives."""
        return max(device_bytes(self.transfers)[1].values(), default=0.0)

    @property
    def peak_bytes(self) -> float:
        """Weights on the fullest device while it generates."""
        return self.generation_bytes + self.redundant_bytes


def nested_engines(layout: TrainingLayout, tp: int, pp: int = 1) -> Engines:
    """Engines of pp · tp devices, as positions in the trainer, each of whose devices generates with
    a shard that contains its training shard (arXiv 2409.19256, figure 8): training's neighbours are
    spread over the micro data-parallel group."""
    if layout.tp % tp or layout.pp % pp or layout.chunks > 1:
        raise ScenarioError(
            f"rl.trainer.layout: engines of tp={tp}, pp={pp} do not divide training's tp="
            f"{layout.tp}, pp={layout.pp}, chunks={layout.chunks}, so that shards cannot be "
            "nested; choose divisors and one chunk, or place engines on neighbouring devices"
        )
    stages, positions = layout.pp // pp, layout.tp // tp
    return tuple(
        tuple(
            (g * stages + s) * layout.stage_gpus + copy * layout.tp + h * positions + q
            for g in range(pp)
            for h in range(tp)
        )
        for copy in range(layout.dp * layout.cp)
        for s in range(stages)
        for q in range(positions)
    )


def reshard(
    layout: TrainingLayout,
    engines: Engines,
    engine_tp: int,
    *,
    dense_bytes: float,
    expert_bytes: float = 0.0,
    devices: tuple[int, ...] | None = None,
) -> Reshard:
    """Bytes between devices when `engines` take the trainer's weights, M = dense + experts.

    `devices` are the trainer's, by position; its positions themselves when left out. Sources of the
    same replica are taken where a device trains too, else replicas in turn. assumed: layers of
    equal size, and experts cut in the same direction by both.
    """
    shards = _Shards(layout, engine_tp, len(engines[0]) // engine_tp)
    mine = range(layout.gpus) if devices is None else devices
    at = {device: position for position, device in enumerate(mine)}
    cuts = [(n, w) for n, w in ((dense_bytes, layout.tp), (expert_bytes, shards.experts)) if n]
    moved: dict[Pair, float] = {}
    redundant = 0.0
    for number, engine in enumerate(engines):
        for k, dst in enumerate(engine):
            position, kept = at.get(dst), 0.0
            for whole, width in cuts:
                copy = number if position is None else position % layout.stage_gpus // width
                for source, share in shards.needed(k, copy, width):
                    pair, nbytes = (mine[source], dst), share * whole
                    moved[pair] = moved.get(pair, 0.0) + nbytes
                    kept += nbytes if source == position else 0.0
            if position is not None:
                held = sum(whole / width for whole, width in cuts) / layout.pp
                redundant = max(redundant, held - kept)
    return Reshard(grouped(moved), (dense_bytes + expert_bytes) / len(engines[0]), redundant)


@dataclass(frozen=True, slots=True)
class _Shards:
    """Which part of the model lies where, in units of a grid that both cut evenly."""

    layout: TrainingLayout
    tp: int
    pp: int
    """Of an engine."""

    @property
    def experts(self) -> int:
        """Devices of a training stage that a layer's experts are dealt to."""
        return self.layout.ep * self.layout.expert_tp

    def _stages(self, k: int) -> list[tuple[int, float]]:
        """(training stage, share of all layers) that the k-th device of an engine needs."""
        layout = self.layout
        parts = layout.pp * layout.chunks
        grid = lcm(parts, self.pp)
        need = k // self.tp
        counts = [0] * layout.pp
        for row in range(need * grid // self.pp, (need + 1) * grid // self.pp):
            counts[row * parts // grid % layout.pp] += 1
        return [(s, n / grid) for s, n in enumerate(counts) if n]

    def _cuts(self, k: int, parts: int) -> list[tuple[int, float]]:
        """(training position of `parts`, share of a layer) that it needs."""
        need, grid = k % self.tp, lcm(parts, self.tp)
        low, high = need * grid // self.tp, (need + 1) * grid // self.tp
        each = grid // parts
        return [
            (i, (min(high, (i + 1) * each) - max(low, i * each)) / grid)
            for i in range(low // each, -(-high // each))
        ]

    def needed(self, k: int, copy: int, width: int) -> list[tuple[int, float]]:
        """(position in the trainer, share of the weights) of what the k-th device of an engine
        needs, from one copy of layers that are cut over `width` devices of a stage."""
        stage = self.layout.stage_gpus
        base = copy % (stage // width) * width
        return [
            (s * stage + base + i, rows * cut)
            for s, rows in self._stages(k)
            for i, cut in self._cuts(k, width)
        ]
