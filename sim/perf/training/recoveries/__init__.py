"""What a trainer does when one of its GPUs fails, one way a file."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Protocol

from pydantic import Field

from sim.plugins import policy

NonNegative = Annotated[float, Field(ge=0)]
ALONE = (
    "recovery: elastic needs another replica of the failed stage and dp is 1; "
    "use restart or neighbour_average, or dp = 2"
)


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
    """Throughput of the survivors over that before (`dropped_speed`, `rebalanced_speed`); 0 where a
    stage has no survivors."""


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


class Recovery(Protocol):
    """What every file here provides."""

    def outage(self, damage: Damage) -> Outage:
        """What one failure costs."""

    def overhead_s(self, forward_s: float, bubble_s: float) -> float:
        """What every step takes longer so that failures cost less, failures or not: of the forward
        passes of one stage and the idle time of its pipeline."""


RecoverySetting = Annotated[Recovery, policy("sim.perf.training.recoveries")]
"""The annotation of a setting that names one."""
