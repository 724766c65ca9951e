"""Seconds by cause, worked out from the logged shapes when step rows are written."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

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
_GROWTH = {"context_tokens": "decodes", "capped_1": "below_1", "capped_2": "below_2"}
"""Columns that grow from step to step of a run, and by how much."""


@dataclass(eq=False, slots=True)
class Breakdown:
    """Derives the cause columns of `steps` with the timers that priced them."""

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
        parts: list[dict[str, NDArray[np.float64]]] = []
        for low, high in _pieces(n):
            part = {k: v[low:high] for k, v in shapes.items()}
            parts.append(self._price_runs(engine, part, n[low:high]))
        causes = parts[0] if parts else {}
        return {k: np.concatenate([p[k] for p in parts]).reshape(-1) for k in causes}

    def _price_runs(
        self, engine: int, runs: Shapes, n: NDArray[np.int64]
    ) -> dict[str, NDArray[Any]]:
        """Expand runs to steps, price each, and add up by run."""
        epochs = self._epochs[engine]
        starts = np.cumsum(n) - n
        which = np.repeat(np.arange(len(n)), n)
        ahead = (np.arange(len(which)) - starts[which])[:, None]
        steps = {k: runs[k][which] for k in _SHAPE}
        at = (runs["first_step"][which] + ahead)[:, 0]
        if isinstance(epochs.timer, SpeculativeTimer):
            place = {k: runs[k][which, 0] for k in ("engine", "slot")}
            drafted = Drafted(steps, place | {"step": at, "ahead": ahead[:, 0]})
            drafted.follow(self._journals)
            priced = drafted.causes(epochs, epochs.timer)
            sums = {k: np.add.reduceat(v, starts, axis=0) for k, v in priced.items()}
            return sums | {"draft_tokens": drafted.lengths(starts)}
        for column, growth in _GROWTH.items():
            steps[column] = steps[column] + ahead * runs[growth][which]
        causes = _causes(epochs, steps, at)
        return {k: np.add.reduceat(v, starts, axis=0) for k, v in causes.items()}


def _causes(epochs: Epochs, steps: Shapes, at: NDArray[np.int64]) -> dict[str, NDArray[np.float64]]:
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
