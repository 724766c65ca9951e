"""When engines ran anything: unions of their steps, and how much of a time they fill."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from sim.measure.ledger import Floats, Ints
from sim.measure.utilisation import Activity

TOGETHER_S = 1e-6
"""Spells with no more than so much between them are one."""


@dataclass(frozen=True, slots=True)
class Spells:
    """Spans of time, apart from each other within an engine, in which a step ran there."""

    engine: Ints
    start_s: Floats
    end_s: Floats

    @classmethod
    def of(cls, activity: Activity) -> Spells:
        """The union of the steps of each engine, whatever its slots and ranks."""
        r = activity.rows
        first = r["rank"] == 0  # all ranks of an engine step together
        engine, start, end = (r[name][first] for name in ("engine", "start_s", "end_s"))
        if len(start) == 0:
            return cls(engine, start, end)
        away = float(end.max()) + 1.0
        begin = start + engine * away  # engines one after the other, on one line of time
        order = np.argsort(begin, kind="stable")
        engine, start, end, begin = engine[order], start[order], end[order], begin[order]
        until = np.maximum.accumulate(end + engine * away)
        new = np.r_[True, begin[1:] > until[:-1] + TOGETHER_S]
        heads = np.flatnonzero(new)
        tails = np.r_[heads[1:] - 1, len(start) - 1]
        return cls(engine[heads], start[heads], until[tails] - engine[heads] * away)

    def filled(self, times: Floats, weights: Floats) -> Floats:
        """Up to each time, the seconds that the spells fill, weighted by engine (its GPUs)."""
        weight = weights[self.engine]
        return _elapsed(self.start_s, weight, times) - _elapsed(self.end_s, weight, times)


def _elapsed(since: Floats, weight: Floats, times: Floats) -> Floats:
    """Σ weight · max(t − since, 0) for each time t."""
    order = np.argsort(since)
    since, weight = since[order], weight[order]
    count = np.searchsorted(since, times, side="right")
    weights = np.concatenate([[0.0], np.cumsum(weight)])[count]
    moments = np.concatenate([[0.0], np.cumsum(weight * since)])[count]
    return np.asarray(weights * times - moments)
