"""Collectives among a trainer's devices, from the topology."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sim.errors import ScenarioError
from sim.network.collectives import Collectives, default_collectives
from sim.network.topology import Topology
from sim.perf.training.layout import TrainingLayout


@dataclass(frozen=True, slots=True)
class TrainingWires:
    """Collectives of NCCL among the devices of one group of each kind, those of stage 0."""

    tp: Collectives
    """That share matrices."""
    cp: Collectives
    """That share the tokens of a sequence."""
    dp: Collectives
    """That hold the same dense weights: dp · cp replicas."""
    experts: Collectives
    """That the experts of a layer are dealt to: ep · etp."""
    expert_dp: Collectives
    """That hold the same experts."""
    pipe: Collectives
    """One device of every stage."""
    ends: Collectives
    """First and last stage."""
    between: tuple[Collectives, ...]
    """Neighbouring stages, one of every kind of neighbourhood."""

    def send_s(self, nbytes: float) -> float:
        """To the next stage, by the slowest of the neighbourhoods."""
        return max((float(c.send_s(nbytes)) for c in self.between), default=0.0)


def training_wires(
    topology: Topology, layout: TrainingLayout, devices: Sequence[int] | None = None
) -> TrainingWires:
    """The wires of a trainer on `devices` of the topology, its first ones when left out."""
    mine = range(len(topology.devices)) if devices is None else devices
    if layout.gpus > len(mine):
        raise ScenarioError(
            f"training.layout: {layout.text} needs {layout.gpus} GPUs and topology "
            f"'{topology.name}' has {len(mine)} for it; set topology.nodes higher or lower dp"
        )

    def among(positions: Sequence[int]) -> Collectives:
        return default_collectives(topology.group([mine[p] for p in positions]), "none")

    tp, cp, pp, stage = layout.tp, layout.cp, layout.pp, layout.stage_gpus
    expert = layout.ep * layout.expert_tp if stage % (layout.ep * layout.expert_tp) == 0 else 1
    pairs = [(i * stage, (i + 1) * stage) for i in range(pp - 1)]
    kinds = {topology.pattern([mine[a], mine[b]]): (a, b) for a, b in reversed(pairs)}
    return TrainingWires(
        tp=among(range(tp)),
        cp=among(range(0, tp * cp, tp)),
        dp=among(range(0, stage, tp)),
        experts=among(range(expert)),
        expert_dp=among(range(0, stage, expert)),
        pipe=among(range(0, pp * stage, stage)),
        ends=among([0, (pp - 1) * stage] if pp > 1 else [0]),
        between=tuple(among(pair) for pair in kinds.values()),
    )
