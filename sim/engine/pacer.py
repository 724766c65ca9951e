"""The second beat: when each pass of a flight ends.

Passes are priced by the timer. Where nothing can change but lengths, many are priced at once (a
leap); in a pipeline a pass goes through the stages, each of which serves passes in order.
"""

from __future__ import annotations

from array import array
from collections.abc import MutableSequence
from itertools import accumulate

import numpy as np

from sim.engine.flight import LONGEST_PIECE, Flight
from sim.perf.epochs import Epochs
from sim.perf.step_timer import Run, StepTimer


class Pacer:
    """Prices the flights of one engine."""

    __slots__ = ("_epochs", "_leap", "_stage_free", "factor", "timer")

    def __init__(self, timer: StepTimer, leap: bool, epochs: Epochs | None = None) -> None:
        self.timer = timer
        self._epochs = epochs
        self.factor = 1.0
        """How many times longer than priced the work takes."""
        self._leap = leap and timer.stages == 1
        self._stage_free = [0.0] * timer.stages

    @property
    def free_s(self) -> float:
        """When the first stage is free for the next pass."""
        return self._stage_free[0]

    def forget(self, now_s: float) -> None:
        """The passes in the stages are lost: all stages are free."""
        self._stage_free = [min(free, now_s) for free in self._stage_free]

    def price(self, flight: Flight) -> None:
        """Set the ends of the flight, which begins now."""
        now, factor = flight.begun_s, self.factor
        passes, flight.grown = 1, 1
        if self._epochs is not None:
            self.timer = self._epochs.at(flight.track.steps)
        flight.pipeline_s = flight.contention_s = 0.0
        if self._leap and not flight.prefills and factor == 1.0:
            passes = flight.piece
            for rank, lane in flight.seats:
                passes = 1 if rank.pressed else rank.horizon(lane, passes)
            flight.piece = min(2 * flight.piece, LONGEST_PIECE)
            if self._epochs is not None:
                passes = min(passes, self._epochs.left(flight.track.steps))
        if passes > 1:
            flight.ends = _ends(now, self.timer.price_run(flight.shapes, passes))
        elif len(self._stage_free) == 1:
            flight.ends = [now + self.timer.price(flight.shapes)]
            if factor != 1.0:
                flight.stretch(now, factor)
        else:
            flight.ends = [self._through_stages(flight, now)]

    def _through_stages(self, flight: Flight, now_s: float) -> float:
        """End of the last stage."""
        ready, free = now_s, self._stage_free
        stages = self.timer.price_stages(flight.shapes)
        flight.through_s, flight.slowest_s = sum(stages), max(stages)
        for i, seconds in enumerate(stages):
            start = free[i] if free[i] > ready else ready
            flight.pipeline_s += start - ready
            flight.contention_s += seconds * (self.factor - 1.0)
            ready = start + seconds * self.factor
            free[i] = ready
        return ready


def _ends(start_s: float, seconds: Run) -> MutableSequence[float]:
    """When each of a run of passes ends: sums in the order of the passes, to the bit the same for
    lists and arrays."""
    if isinstance(seconds, list):
        ends = list(accumulate(seconds, initial=start_s))
        del ends[0]
        return ends
    seconds[0] += start_s
    return array("d", np.cumsum(seconds).tobytes())
