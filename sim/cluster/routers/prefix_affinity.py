"""The seat that holds most of the prompt in its cache, unless it is too busy."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from sim.cluster.routers import Route
from sim.cluster.routers.least_loaded import LeastLoaded
from sim.cluster.view import View
from sim.rng import Draws
from sim.settings import settings
from sim.units import NonNegativeInt
from sim.workload.request import Ask


@dataclass(frozen=True, slots=True)
class _Affinity:
    slack: int
    least: Route

    def pick(self, ask: Ask, view: View) -> int:
        fallback = self.least.pick(ask, view)
        if not ask.block_ids:
            return fallback
        requests = view.requests
        near = np.flatnonzero(requests <= requests[fallback] + self.slack)
        saved = [view.cached_tokens(int(seat), ask) for seat in near]
        best = max(saved)
        if best == 0:
            return fallback
        candidates = [int(s) for s, tokens in zip(near, saved, strict=True) if tokens == best]
        return min(candidates, key=lambda s: (int(view.load[s]), s))


@settings
class PrefixAffinity:
    """Among seats with at most `slack_requests` more than the least loaded, the longest cached
    prefix; without a hit, the least loaded."""

    slack_requests: NonNegativeInt = 16

    def start(self, draws: Draws) -> _Affinity:
        """It keeps no state: the caches are the state."""
        return _Affinity(self.slack_requests, LeastLoaded().start(draws))
