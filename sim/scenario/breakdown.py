"""Seconds by cause, worked out from the logged shapes when step rows are written.

A row of n steps is priced step by step, or, where a run keeps no single steps anyway, from a few of
them: contexts grow evenly from step to step and prices are lines with a kink here and there, so
where the seconds of five steps lie on one line, the sum is n times the mean of first and last. Rows
with a kink are priced step by step.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from sim.perf.epochs import Epochs
from sim.perf.price_list import Shapes
from sim.perf.speculation.price import SpeculativeTimer
from sim.record.log import Columns
from sim.record.tables import SPECULATIVE_STEPS, STEPS
from sim.scenario.drafting import Journal
from sim.scenario.verified_causes import Drafted

STEPS_AT_ONCE = 1 << 17
"""Single steps that are priced in one piece: bounds the memory."""

FEW_STEPS = 8
"""Rows of at most so many steps are priced step by step."""

SAMPLES = np.arange(5) / 4
"""Where else a row is priced, from its first step to its last."""

ON_A_LINE = 1e-13
"""Relative distance that is rounding."""

_SHAPE = (
    "prefills",
    "prefill_tokens",
    "prefill_pairs",
    "prefill_kv_tokens",
    "decodes",
    "context_tokens",
    "capped_1",
    "capped_2",
    "capped_pairs_1",
    "capped_pairs_2",
    "sampled",
)
Causes: TypeAlias = dict[str, NDArray[np.float64]]
"""Cause → seconds, shaped (runs or steps, ranks)."""

_GROWTH = {"context_tokens": "decodes", "capped_1": "below_1", "capped_2": "below_2"}
"""Columns that grow from step to step of a run, and by how much."""


@dataclass(eq=False, slots=True)
class Breakdown:
    """Derives the cause columns of `steps` with the timers that priced them."""

    from_samples: bool = False
    """Rows may be priced from a few of their steps."""
    _epochs: list[Epochs] = field(default_factory=list)
    _ranks: list[int] = field(default_factory=list)
    _journals: list[Journal] = field(default_factory=list)

    def add(self, engine: int, epochs: Epochs, ranks: int, journal: Journal = ()) -> None:
        """Engines are added in the order of their numbers; those that speculate with the journal of
        their verify steps."""
        if engine != len(self._epochs):
            raise ValueError(f"engine {engine} is added out of order")
        self._epochs.append(epochs)
        self._ranks.append(ranks)
        self._journals.append(journal)

    def __call__(self, rows: Columns) -> Columns:
        """The derived columns for a group of rows."""
        speculate = any(self._journals)
        derived = (SPECULATIVE_STEPS if speculate else STEPS).derived
        out = {c.name: np.zeros(len(rows["engine"])) for c in derived}
        engines = rows["engine"].astype(np.int64)
        kinds: dict[int, list[int]] = {}
        for engine in np.unique(engines):
            epochs = self._epochs[engine]
            key = id(epochs if epochs.timer.epoch_steps else epochs.timer)
            kinds.setdefault(key, []).append(int(engine))
        for same in kinds.values():
            at = np.flatnonzero(np.isin(engines, same))
            for name, values in self._price(rows, at, same[0]).items():
                out[name][at] = values
        return out

    def _price(self, rows: Columns, at: NDArray[np.int64], engine: int) -> Columns:
        ranks = self._ranks[engine]
        table = at.reshape(-1, ranks)
        names = (*_SHAPE, "below_1", "below_2", "first_step", "engine", "slot")
        shapes = {k: rows[k][table].astype(np.int64) for k in names}
        n = rows["n"][table[:, 0]].astype(np.int64)
        epochs = self._epochs[engine]
        if isinstance(epochs.timer, SpeculativeTimer):
            return _flat(_in_pieces(shapes, n, partial(self._verified, epochs, epochs.timer)))
        if not self.from_samples or epochs.timer.epoch_steps:
            return _flat(_sum_steps(epochs, shapes, n))
        causes, exact = _sum_samples(epochs, shapes, n)
        rest = np.flatnonzero(~exact | (n <= FEW_STEPS))
        if len(rest):
            stepped = _sum_steps(epochs, _some(shapes, rest), n[rest])
            for name, seconds in stepped.items():
                causes[name][rest] = seconds
        return _flat(causes)

    def _verified(
        self, epochs: Epochs, timer: SpeculativeTimer, runs: Shapes, n: NDArray[np.int64]
    ) -> Causes:
        """Of runs of verify steps, whose contexts grow as their journal says."""
        starts = np.cumsum(n) - n
        which = np.repeat(np.arange(len(n)), n)
        ahead = np.arange(len(which)) - starts[which]
        steps = {k: runs[k][which] for k in _SHAPE}
        place = {k: runs[k][which, 0] for k in ("engine", "slot")}
        at = runs["first_step"][which][:, 0] + ahead
        drafted = Drafted(steps, place | {"step": at, "ahead": ahead})
        drafted.follow(self._journals)
        priced = drafted.causes(epochs, timer)
        sums = {k: np.add.reduceat(v, starts, axis=0) for k, v in priced.items()}
        return sums | {"draft_tokens": drafted.lengths(starts)}


def _sum_samples(
    epochs: Epochs, runs: Shapes, n: NDArray[np.int64]
) -> tuple[Causes, NDArray[np.bool_]]:
    """Seconds of every run from a few of its steps, and for which of the runs that is exact."""
    ahead = np.floor(SAMPLES * (n - 1)[:, None])
    which = np.repeat(np.arange(len(n)), len(SAMPLES))
    priced = _price_steps(epochs, runs, which, ahead.reshape(-1).astype(np.int64))
    share = (ahead / np.maximum(n - 1, 1)[:, None])[:, :, None]
    sums: Causes = {}
    exact = np.ones(len(n), dtype=np.bool_)
    for name, seconds in priced.items():
        at = seconds.reshape(len(n), len(SAMPLES), -1)
        first, last = at[:, :1], at[:, -1:]
        off = np.abs(at - (first + (last - first) * share))
        exact &= (off <= ON_A_LINE * np.maximum(first, last)).all(axis=(1, 2))
        sums[name] = n[:, None] * (0.5 * (first + last)[:, 0])
    return sums, exact


def _in_pieces(
    runs: Shapes, n: NDArray[np.int64], sums: Callable[[Shapes, NDArray[np.int64]], Causes]
) -> Causes:
    """`sums` of runs, a bounded number of steps at a time."""
    parts = [
        sums({k: v[low:high] for k, v in runs.items()}, n[low:high]) for low, high in _pieces(n)
    ]
    return {k: np.concatenate([p[k] for p in parts]) for k in parts[0]}


def _sum_steps(epochs: Epochs, runs: Shapes, n: NDArray[np.int64]) -> Causes:
    """Seconds of every run, step by step."""

    def sums(part: Shapes, count: NDArray[np.int64]) -> Causes:
        starts = np.cumsum(count) - count
        which = np.repeat(np.arange(len(count)), count)
        causes = _price_steps(epochs, part, which, np.arange(len(which)) - starts[which])
        return {k: np.add.reduceat(v, starts, axis=0) for k, v in causes.items()}

    return _in_pieces(runs, n, sums)


def _price_steps(
    epochs: Epochs, runs: Shapes, which: NDArray[np.int64], ahead: NDArray[np.int64]
) -> Causes:
    """Seconds of single steps: the ones `ahead` of the first of the runs `which`."""
    steps = {k: runs[k][which] for k in _SHAPE}
    for column, growth in _GROWTH.items():
        steps[column] = steps[column] + ahead[:, None] * runs[growth][which]
    return _causes(epochs, steps, runs["first_step"][which][:, 0] + ahead)


def _some(runs: Shapes, which: NDArray[np.int64]) -> Shapes:
    return {k: v[which] for k, v in runs.items()}


def _flat(causes: Causes) -> Columns:
    """By row of the table: rank by rank."""
    return {k: v.reshape(-1) for k, v in causes.items()}


def _causes(epochs: Epochs, steps: Shapes, at: NDArray[np.int64]) -> Causes:
    """Seconds by cause of single steps, each with the price list of its epoch."""
    timer = epochs.timer
    if not timer.epoch_steps:
        return timer.breakdown(steps)
    levels = epochs.levels(at)
    out = timer.breakdown(steps)
    for level in np.unique(levels):
        mine = levels == level
        priced = timer.levels[level].breakdown({k: v[mine] for k, v in steps.items()})
        for name, seconds in priced.items():
            out[name] = np.array(out[name])
            out[name][mine] = seconds
    return out


def _pieces(n: NDArray[np.int64]) -> list[tuple[int, int]]:
    """Bounds of consecutive runs with about STEPS_AT_ONCE steps together."""
    total = np.cumsum(n)
    cuts = np.searchsorted(total, np.arange(STEPS_AT_ONCE, int(total[-1]), STEPS_AT_ONCE))
    bounds = np.unique(np.concatenate(([0], cuts + 1, [len(n)])))
    return list(zip(bounds[:-1].tolist(), bounds[1:].tolist(), strict=True))
