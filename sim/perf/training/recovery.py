"""Failures of a trainer: how often, how long it stands still, what it loses, how fast it goes on.

Four ways out. `Restart`: everything from the last checkpoint. `Elastic` (ElasWave): the survivors
edit their communicators, move layers and go on with fewer devices. `NeighbourAverage` (CheckFree,
arXiv 2506.15461): a lost stage becomes the average of its neighbours, and training needs more
steps. `Redundant` (Bamboo, arXiv 2204.12013): every stage also computes the next one's forward
pass, always.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import expm1, log
from typing import Annotated

from pydantic import Field

from sim.errors import ScenarioError
from sim.perf.training.layout import layers_by_speed
from sim.settings import settings

Seconds = Annotated[float, Field(ge=0)]
HOUR = 3600.0


@settings
class Failures:
    """Exponential, independent of each other."""

    gpu_mtbf_hours: Annotated[float, Field(gt=0)] = 50_700.0
    """Mean time of one GPU, and of what belongs to it, between failures: 419 unexpected
    interruptions in 54 days on 16,384 H100 (Llama 3, arXiv 2407.21783, section 3.3.4)."""

    def mtbf_s(self, gpus: int) -> float:
        """Of so many GPUs together."""
        return self.gpu_mtbf_hours * HOUR / gpus

    def gap_s(self, uniform: float, gpus: int) -> float:
        """Seconds to the next failure by a draw from [0, 1)."""
        return -log(1.0 - uniform) * self.mtbf_s(gpus)


@dataclass(frozen=True, slots=True)
class Damage:
    """What a failure meets."""

    lost_s: float
    """Work since the last durable checkpoint (`checkpoints.lost_s`)."""
    load_s: float
    """Loading it (`checkpoints.load_s`)."""
    stage_bytes: float
    """Weights of the failed device: 16 bit."""
    moved_bytes: float
    """Most that one pair of survivors moves when layers change places, states included."""
    link_bytes_per_s: float
    """Between two survivors."""
    speed: float
    """Throughput of the survivors over that before (`dropped_speed`, `rebalanced_speed`)."""


@dataclass(frozen=True, slots=True)
class Outage:
    """What a failure costs."""

    stop_s: float
    """Nothing is trained."""
    lost_s: float = 0.0
    """Work to be done again."""
    speed: float = 1.0
    """Throughput afterwards, over that before."""
    slow_s: float = 0.0
    """For so long, until a replacement joins."""
    extra_steps: float = 0.0
    """More steps to the same loss."""


@settings
class Restart:
    """Everyone starts again from the last checkpoint."""

    detect_s: Seconds = 60.0
    """Until the failure is noticed. assumed: a watchdog of a minute (PyTorch's own time-out of
    NCCL is ten)."""
    restart_s: Seconds = 120.0
    """A spare node, processes, imports, compiling. assumed."""
    init_s: Seconds = 82.0
    """Communicators of all: 82 times the less than one second of an edit (ElasWave, abstract)."""

    def outage(self, damage: Damage) -> Outage:
        """T = detect + restart + load + init, and the work since the checkpoint again."""
        stop = self.detect_s + self.restart_s + damage.load_s + self.init_s
        return Outage(stop, damage.lost_s)


@settings
class Elastic:
    """The survivors go on: no checkpoint is loaded and no step is lost but the one at work."""

    detect_s: Seconds = 60.0
    """As of `Restart`."""
    edit_s: Seconds = 1.0
    """Communicators edited in place: less than a second (ElasWave, abstract)."""
    replace_s: Seconds = 3600.0
    """Until a replacement joins. assumed: an hour."""

    def outage(self, damage: Damage) -> Outage:
        """detect + edit + the largest move between disjoint pairs."""
        moving = damage.moved_bytes / damage.link_bytes_per_s
        return Outage(
            self.detect_s + self.edit_s + moving, speed=damage.speed, slow_s=self.replace_s
        )


@settings
class NeighbourAverage:
    """A spare takes the weighted average of the two neighbouring stages."""

    detect_s: Seconds = 60.0
    """As of `Restart`."""
    extra_steps: Annotated[float, Field(ge=0)]
    """More steps per failure to the same loss: a property of model and data, to be given."""

    def outage(self, damage: Damage) -> Outage:
        """Two stages' weights over the link; no step is lost."""
        moving = 2.0 * damage.stage_bytes / damage.link_bytes_per_s
        return Outage(self.detect_s + moving, extra_steps=self.extra_steps)


@settings
class Redundant:
    """The stage before has the weights and the forward results of the failed one."""

    detect_s: Seconds = 60.0
    """As of `Restart`."""
    bubble_use: Annotated[float, Field(ge=0, le=1)] = 0.0
    """Part of the pipeline's bubble that the redundant passes fill (Bamboo fills it)."""

    def outage(self, damage: Damage) -> Outage:
        """The weights move to a spare; no step is lost."""
        return Outage(self.detect_s + damage.stage_bytes / damage.link_bytes_per_s)

    def step_s(self, step_s: float, forward_s: float, bubble_s: float) -> float:
        """Every step is longer by one stage's forward passes, less what the bubble takes in."""
        return step_s + max(0.0, forward_s - self.bubble_use * bubble_s)


# --- throughput of the survivors --------------------------------------------------------------


def dropped_speed(replicas: int) -> float:
    """(d − 1)/d: the replica of a failed device is left out whole."""
    return (replicas - 1) / replicas


def ideal_speed(gpus: int) -> float:
    """(n − 1)/n: what is left of the GPUs."""
    return (gpus - 1) / gpus


def rebalanced_layers(layers: int, stages: int, replicas: int, failed: int) -> tuple[int, ...]:
    """Layers of every stage when stage `failed` has d − 1 of d devices: the largest time per device
    is as small as whole layers let it be."""
    return layers_by_speed(layers, [replicas - (i == failed) for i in range(stages)])


def rebalanced_speed(layers: int, stages: int, replicas: int) -> float:
    """Throughput with layers moved off the stage that lost a device, whose micro-batches its other
    replicas share: between `dropped_speed` and `ideal_speed`, as whole layers allow."""
    if replicas == 1:
        raise ScenarioError(
            "recovery: elastic needs another replica of the failed stage and dp is 1; "
            "use restart or neighbour_average, or dp = 2"
        )
    split = rebalanced_layers(layers, stages, replicas, 0)
    room = [replicas - (i == 0) for i in range(stages)]
    slowest = max(n / r for n, r in zip(split, room, strict=True))
    return -(-layers // stages) / replicas / slowest


# --- wall-clock to a target -------------------------------------------------------------------


def rollback_s(
    steps: float, step_s: float, interval_s: float, stall_s: float, mtbf_s: float, stop_s: float
) -> float:
    """Expected seconds with checkpoints: (MTBF + R)·(e^(w/MTBF) − 1) for every interval of w
    seconds, stall included (Daly 2006, with no failures during a recovery)."""
    whole = interval_s + stall_s
    return steps * step_s / interval_s * (mtbf_s + stop_s) * expm1(whole / mtbf_s)


def going_on_s(steps: float, step_s: float, mtbf_s: float, outage: Outage) -> float:
    """Expected seconds without rollbacks: a failure costs its stop, its extra steps, and what it
    slows; failures strike while training only.

    W = S·τ/(1 − e·τ/MTBF) seconds at work, each failure adding stop + slow·(1 − speed).
    """
    again = outage.extra_steps * step_s / mtbf_s
    if again >= 1.0:
        raise ScenarioError(
            f"recovery: extra_steps={outage.extra_steps} of {step_s} s take longer than the "
            f"{mtbf_s} s between failures, so that training never ends; lower one of them"
        )
    work = steps * step_s / (1.0 - again)
    slowed = outage.slow_s * (1.0 - outage.speed)
    return work * (1.0 + (outage.stop_s + slowed) / mtbf_s)
