"""Failures of a trainer: how often, how fast the survivors go on, and wall-clock to a target. What
is done about one is in `recoveries/`."""

from __future__ import annotations

from math import expm1, log
from typing import Annotated

from pydantic import Field

from sim.errors import ScenarioError
from sim.perf.training.layout import layers_by_speed
from sim.perf.training.recoveries import ALONE, Outage
from sim.settings import settings

HOUR = 3600.0


@settings
class Failures:
    """Exponential, independent of each other."""

    gpu_mtbf_hours: Annotated[float, Field(ge=0.001)] = 50_700.0
    """Mean time of one GPU, and of what belongs to it, between failures: 419 unexpected
    interruptions in 54 days on 16,384 H100 (Llama 3, arXiv 2407.21783, section 3.3.4)."""

    def mtbf_s(self, gpus: int) -> float:
        """Of so many GPUs together."""
        return self.gpu_mtbf_hours * HOUR / gpus

    def gap_s(self, uniform: float, gpus: int) -> float:
        """Seconds to the next failure by a draw from [0, 1)."""
        return -log(1.0 - uniform) * self.mtbf_s(gpus)


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
        raise ScenarioError(ALONE)
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
