"""Collectives among a trainer's devices, from the topology.

Groups of one kind differ where they lie: those of another stage may cross more switches, or a
slower network. The slowest stands for all, because the stages of a pipeline wait for each other.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from sim.errors import ScenarioError
from sim.network.collectives import Collectives, default_collectives
from sim.network.topology import Topology
from sim.perf.training.layout import TrainingLayout
from sim.perf.training.nics import Nics

LARGE_BYTES = 64e6
"""Message by which groups are compared: a bucket of gradients. assumed."""


@dataclass(frozen=True, slots=True)
class TrainingWires:
    """Collectives of NCCL among the devices of one group of each kind, the slowest stage's."""

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
    topology: Topology,
    layout: TrainingLayout,
    devices: Sequence[int] | None = None,
    nics: Nics | None = None,
) -> TrainingWires:
    """The wires of a trainer on `devices` of the topology, its first ones when left out; `nics` say
    which nodes cannot reach each other by RDMA."""
    mine = range(len(topology.devices)) if devices is None else devices
    if layout.gpus > len(mine):
        raise ScenarioError(
            f"rl.trainer.layout: {layout.text} needs {layout.gpus} GPUs and topology "
            f"'{topology.name}' has {len(mine)} for it; set topology.nodes higher or lower dp"
        )

    def among(positions: Sequence[int]) -> Collectives:
        chosen = [mine[p] for p in positions]
        group = topology.group(chosen) if nics is None else nics.group(topology, chosen)
        return default_collectives(group, "none")

    def slowest(first: Sequence[int]) -> Collectives:
        """Of the same group in every stage, `first` being stage 0's."""
        stages = ([i * stage + p for p in first] for i in range(pp))
        return _slowest(among(positions) for positions in stages)

    tp, cp, pp, stage = layout.tp, layout.cp, layout.pp, layout.stage_gpus
    expert = layout.ep * layout.expert_tp if stage % (layout.ep * layout.expert_tp) == 0 else 1
    between = {among([i * stage, (i + 1) * stage]).group: i for i in reversed(range(pp - 1))}
    return TrainingWires(
        tp=slowest(range(tp)),
        cp=slowest(range(0, tp * cp, tp)),
        dp=slowest(range(0, stage, tp)),
        experts=slowest(range(expert)),
        expert_dp=slowest(range(0, stage, expert)),
        pipe=among(range(0, pp * stage, stage)),
        ends=among([0, (pp - 1) * stage] if pp > 1 else [0]),
        between=tuple(among([i * stage, (i + 1) * stage]) for i in between.values()),
    )


def _slowest(groups: Iterable[Collectives]) -> Collectives:
    distinct = {c.group: c for c in groups}
    return max(distinct.values(), key=lambda c: float(c.all_gather_s(LARGE_BYTES)))
