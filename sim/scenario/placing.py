"""Which devices every engine of every pool gets, and what its wires are."""

from __future__ import annotations

from collections.abc import Mapping

from sim.cluster.placements import Placement
from sim.errors import ScenarioError
from sim.network.collectives import Collectives, default_collectives
from sim.network.topology import Topology
from sim.perf.spread import Spread
from sim.perf.task import Wires

Devices = tuple[int, ...]


def place(
    topology: Topology, placement: Placement, wanted: Mapping[str, tuple[int, Spread, str]]
) -> dict[str, tuple[Devices, ...]]:
    """Devices of every engine, by pool. `wanted`: pool → (engines, spread, GPU).

    Engines are placed in rounds, one of each pool a round, in the order of the pools. Raises
    ScenarioError when the machine has too few devices.
    """
    free = {d.index: d for d in topology.devices}
    placed: dict[str, list[Devices]] = {pool: [] for pool in wanted}
    for pool, (engines, spread, gpu) in wanted.items():
        for _ in range(engines):
            mine = [d for d in free.values() if d.gpu == gpu]
            chosen = placement.pick(mine, spread.devices) if mine else None
            if chosen is None:
                _refuse(topology, wanted, gpu)
            else:
                placed[pool].append(tuple(d.index for d in chosen))
                for device in chosen:
                    del free[device.index]
    return {pool: tuple(devices) for pool, devices in placed.items()}


def _refuse(topology: Topology, wanted: Mapping[str, tuple[int, Spread, str]], gpu: str) -> None:
    there = sum(d.gpu == gpu for d in topology.devices)
    asked = {p: n * s.devices for p, (n, s, g) in wanted.items() if g == gpu}
    sums = " + ".join(f"{gpus} ({pool})" for pool, gpus in asked.items())
    raise ScenarioError(
        f"pools: {sums} = {sum(asked.values())} {gpu} GPUs are asked for and topology "
        f"'{topology.name}' has {there}; set topology.nodes higher or use fewer engines"
    )


def wires(
    topology: Topology, spread: Spread, devices: Devices, all_reduce: str | None = None
) -> Wires:
    """Collectives among the devices of one engine. `all_reduce` names the engine whose own kernels
    serve small messages (`none` = NCCL alone); where the topology has none of its name, or it is
    left out, the topology's first serve."""

    def among(positions: list[int]) -> Collectives:
        group = topology.group([devices[p] for p in positions])
        known = {"none", *(c.engine for c in group.tuning.custom)}
        return default_collectives(group, all_reduce if all_reduce in known else None)

    stages, tp = range(spread.stages), spread.attention_tp
    per_stage = [
        [p for rank in range(spread.ranks) for p in spread.rank_devices(stage, rank)]
        for stage in stages
    ]
    return Wires(
        rank=tuple(among(list(spread.rank_devices(s, 0))) for s in stages),
        heads=tuple(among(list(spread.rank_devices(s, 0)[:tp])) for s in stages),
        kv=tuple(among(list(spread.rank_devices(s, 0)[::tp])) for s in stages),
        stage=tuple(among(positions) for positions in per_stage),
        between=tuple(among([per_stage[s][0], per_stage[s + 1][0]]) for s in stages[:-1]),
    )
