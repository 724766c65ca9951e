"""Expert loads that change from epoch to epoch: which price list holds at which step.

A level is drawn per engine and epoch of steps, as a function of both, so that leaping, stepping and
the breakdown afterwards see the same one.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sim.perf.speculation.price import SpeculativeTimer
from sim.perf.step_timer import TableTimer
from sim.rng import Draws

AnyTimer = TableTimer | SpeculativeTimer


@dataclass(eq=False, slots=True)
class Epochs:
    """The price lists of one engine."""

    timer: AnyTimer
    draws: Draws
    engine: int
    _epoch: int = -1
    _now: AnyTimer | None = None

    def at(self, step: int) -> AnyTimer:
        """The price list that holds at a step."""
        timer = self.timer
        if not timer.epoch_steps:
            return timer
        epoch = step // timer.epoch_steps
        if epoch != self._epoch or self._now is None:
            self._epoch = epoch
            self._now = timer.levels[int(self.levels(np.array([step]))[0])]
        return self._now

    def left(self, step: int) -> int:
        """Steps from this one on, itself included, for which its price list holds."""
        every = self.timer.epoch_steps
        return every - step % every

    def levels(self, steps: NDArray[np.int64]) -> NDArray[np.int64]:
        """Which of the levels holds at each step."""
        if not self.timer.epoch_steps:
            return np.zeros(len(steps), dtype=np.int64)
        drawn = self.draws.uniform(self.engine, steps // self.timer.epoch_steps)
        return (drawn * len(self.timer.levels)).astype(np.int64)
