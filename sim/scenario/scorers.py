"""A loop's scoring model as a pool: its settings, and the GPUs that others have left."""

from __future__ import annotations

from collections.abc import Sequence

from sim.catalog.gpu import Gpu
from sim.cluster.placements import Placement
from sim.errors import ScenarioError
from sim.network.topology import Topology
from sim.perf.spread import Spread
from sim.rl.rewards import Served
from sim.scenario.placing import Devices
from sim.scenario.settings import PoolSettings


def pool_of(asked: Served) -> PoolSettings:
    """What a pool of such engines would be given."""
    return PoolSettings(
        engines=asked.engines,
        layout=asked.layout,
        precision=asked.precision,
        timer=asked.timer,
        engine=asked.engine,
    )


def place_scorers(
    asked: Served,
    spread: Spread,
    gpu: Gpu,
    topology: Topology,
    placement: Placement,
    used: Sequence[int],
) -> tuple[Devices, ...]:
    """Devices of every scorer. ScenarioError where the layout or the machine cannot do it."""
    if spread.ranks > 1 or spread.stages > 1:
        raise ScenarioError(
            f"layout: {spread.text} has {spread.ranks} attention ranks and {spread.stages} stages, "
            "and scorers have one of each; write tensor without pp, and more engines"
        )
    taken = set(used)
    free = [d for d in topology.devices if d.gpu == gpu.name and d.index not in taken]
    there, placed = len(free), list[Devices]()
    for _ in range(asked.engines):
        chosen = placement.pick(free, spread.devices) if free else None
        if chosen is None:
            raise ScenarioError(
                f"engines: {asked.engines} × {spread.devices} {gpu.name} GPUs are asked for, and "
                f"topology '{topology.name}' has {there} beside the {len(taken)} of the pools and "
                "the trainer; set topology.nodes higher, or use fewer engines"
            )
        placed.append(tuple(d.index for d in chosen))
        mine = set(placed[-1])
        free = [d for d in free if d.index not in mine]
    return tuple(placed)
