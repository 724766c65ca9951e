"""The less loaded of two seats drawn at random (Mitzenmacher, 2001)."""

from __future__ import annotations

from dataclasses import dataclass

from sim.cluster.view import View
from sim.rng import Draws
from sim.settings import settings
from sim.workload.request import Ask


@dataclass(frozen=True, slots=True)
class _Two:
    draws: Draws

    def pick(self, ask: Ask, view: View) -> int:
        u, v = self.draws.uniform(ask.number, (0, 1)).tolist()
        n = len(view)
        first = int(u * n)
        second = (first + 1 + int(v * (n - 1))) % n if n > 1 else first
        load = view.load
        return first if load[first] <= load[second] else second


@settings
class PowerOfTwo:
    """Two different seats drawn per request; the less loaded (requests, then tokens) is taken."""

    def start(self, draws: Draws) -> _Two:
        """Draws are functions of the request's number."""
        return _Two(draws)
