"""What a trainer spends beside training: checkpoints, and failures with their way out.

Failures come at exponential gaps of the time at work, drawn by their number: the same trainer
fails at the same hours of work whatever else happens.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from sim.catalog.gpu import Gpu
from sim.perf.training import Trainer, TrainingStep
from sim.perf.training.checkpoints import (
    CheckpointCost,
    checkpoint_cost,
    lost_s,
    state_bytes,
)
from sim.perf.training.damage import damage
from sim.rl.books import CHECKPOINT, RECOVERY, Books
from sim.rl.cadences import Steps
from sim.rl.settings import TrainerSettings
from sim.rl.weight_sync import Mover
from sim.rl.weights import Devices
from sim.rng import Draws

FORWARD_SHARE = 3.0
"""A backward pass does twice the operations of a forward one."""


@dataclass(eq=False, slots=True)
class Upkeep:
    """Of one trainer."""

    settings: TrainerSettings
    trainer: Trainer
    devices: Devices
    books: Books
    mover: Mover
    draws: Draws
    speed: float = 1.0
    """Throughput at present, over that with all devices."""
    failures: int = 0
    """So far."""
    _worked_s: float = 0.0
    _next_failure_s: float = field(init=False)
    """In seconds at work."""
    _updates: int = 0
    """Since the last checkpoint."""
    _since_s: float = 0.0
    """Work since then."""
    _saved: int = 0
    _cost: CheckpointCost | None = None
    _whole_again_s: float = float("inf")
    """When a replacement joins."""

    def __post_init__(self) -> None:
        self._next_failure_s = self._gap_s()

    @property
    def gpu(self) -> Gpu:
        """The trainer's."""
        return self.trainer.gpu

    def _gap_s(self) -> float:
        failures = self.settings.failures
        if failures is None:
            return float("inf")
        uniform = float(self.draws.uniform(self.failures))
        return failures.gap_s(uniform, self.trainer.layout.gpus)

    def overhead_s(self, step: TrainingStep) -> float:
        """What being ready for failures adds to an optimiser step."""
        failures = self.settings.failures
        if failures is None:
            return 0.0
        forward_s = step.pipeline_s * (1.0 - step.bubble) / FORWARD_SHARE
        return failures.recovery.overhead_s(forward_s, step.pipeline_s * step.bubble)

    def after(self, updates: int, seconds: float, computed_s: float) -> Steps:
        """Optimiser steps have been done, in so many seconds of work, `computed_s` of them forward
        and backward passes: failures that fell into them, then a checkpoint where one is due."""
        if self.books.clock.now >= self._whole_again_s:
            self.speed, self._whole_again_s = 1.0, float("inf")
        self._worked_s += seconds
        self._since_s += seconds
        while self._worked_s >= self._next_failure_s:
            yield from self._fail(seconds, self._worked_s - self._next_failure_s)
        yield from self._save(updates, seconds, computed_s)

    def _fail(self, step_s: float, ago_s: float) -> Steps:
        failures, checkpoints = self.settings.failures, self.settings.checkpoints
        if failures is None:
            return
        self.failures += 1
        self._next_failure_s += self._gap_s()
        lost = since = max(0.0, self._since_s - ago_s)
        if checkpoints is not None and self._cost is not None:
            lost = lost_s(checkpoints, self._cost, step_s, since, self._saved)
        position = int(float(self.draws.uniform(self.failures, 1)) * len(self.devices))
        outage = failures.recovery.outage(
            damage(self.trainer, self.mover.topology, self.devices, checkpoints, lost, position)
        )
        again = outage.lost_s + outage.extra_steps * step_s
        yield from self.mover.wait(outage.stop_s + again)
        self.books.spend(RECOVERY)
        self.speed = outage.speed
        if outage.speed < 1.0:
            self._whole_again_s = self.books.clock.now + outage.slow_s

    def _save(self, updates: int, seconds: float, computed_s: float) -> Steps:
        checkpoints = self.settings.checkpoints
        if checkpoints is None:
            return
        self._updates += updates
        if self._updates < checkpoints.interval_steps:
            return
        states = state_bytes(self.trainer.stages, self.trainer.layout, self.trainer.recipe)
        self._cost = checkpoint_cost(
            checkpoints, self.gpu, states, seconds / updates, computed_s / updates
        )
        yield from self.mover.wait(self._cost.stall_s)
        self.books.spend(CHECKPOINT)
        self._saved += 1
        self._updates, self._since_s = 0, 0.0
