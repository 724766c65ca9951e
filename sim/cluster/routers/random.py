"""A seat at random, all alike."""

from __future__ import annotations

from dataclasses import dataclass

from sim.cluster.view import View
from sim.rng import Draws
from sim.settings import settings
from sim.workload.request import Ask


@dataclass(frozen=True, slots=True)
class _Dice:
    draws: Draws

    def pick(self, ask: Ask, view: View) -> int:
        return int(self.draws.uniform(ask.number)[()] * len(view))


@settings
class Random:
    """Uniformly random seats, drawn per request."""

    def start(self, draws: Draws) -> _Dice:
        """Draws are functions of the request's number."""
        return _Dice(draws)
