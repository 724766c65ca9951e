"""Seconds by cause of the steps of engines that speculate, worked out when their rows are written.

How many tokens each step of a run gave, and so how contexts grew, stands in the lanes' journals.
"""

from __future__ import annotations

from collections.abc import Sequence as Many
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from sim.engine.verified import Verified
from sim.perf.epochs import Epochs
from sim.perf.price_list import Array, Shapes
from sim.perf.speculation.acceptance import Tree
from sim.perf.speculation.members import OFF
from sim.perf.speculation.price import SpeculativeTimer
from sim.record.log import Columns
from sim.scenario.drafting import Journal

Ints = NDArray[np.int64]


@dataclass(eq=False, slots=True)
class Drafted:
    """Single steps of engines that speculate."""

    shapes: Shapes
    """Their shapes, (steps, ranks), with the contexts that their runs began with."""
    place: Columns
    """`engine`, `slot` and `step` of each, and how many steps of its run went `ahead` of it."""
    given: Ints = field(init=False)
    """(steps, ranks) tokens that decodes got."""
    kind: Ints = field(init=False)
    """(steps,) which of `trees` they had."""
    trees: list[Tree] = field(default_factory=lambda: [OFF])

    def __post_init__(self) -> None:
        self.given = np.zeros_like(self.shapes["decodes"])
        self.kind = np.zeros(len(self.given), dtype=np.int64)

    def follow(self, journals: Many[Journal]) -> None:
        """Contexts, tokens and drafts of each step, from the journals of all engines."""
        engine, slot = self.place["engine"], self.place["slot"]
        place = engine * (int(slot.max(initial=0)) + 1) + slot
        for one in np.unique(place):
            at = np.flatnonzero(place == one)
            slots, mine = journals[int(engine[at[0]])], int(slot[at[0]])
            if mine >= len(slots):
                continue  # passes of prompts alone
            self.kind[at] = self._kinds(slots[mine][0], self.place["step"][at])
            for rank, verified in enumerate(slots[mine]):
                self._follow(verified, rank, at)

    def _kinds(self, verified: Verified, step: Ints) -> Ints:
        found = np.searchsorted(np.array(verified.first_steps), step, side="right") - 1
        self.trees += [t for t in dict.fromkeys(verified.trees) if t not in self.trees]
        return np.array([self.trees.index(tree) for tree in verified.trees])[found]

    def _follow(self, verified: Verified, rank: int, at: Ints) -> None:
        """One rank of one slot."""
        step = self.place["step"][at]
        first = step - self.place["ahead"][at]
        low, high = int(first.min()), int(step.max()) + 1
        tokens = np.array(verified.tokens[low:high])
        before = np.concatenate([[0], np.cumsum(tokens)])
        grown = before[step - low] - before[first - low]
        self.shapes["context_tokens"][at, rank] += grown
        self.given[at, rank] = tokens[step - low]
        for i, column in enumerate(verified.capped):
            self.shapes[f"capped_{i + 1}"][at, rank] = np.array(column[low:high])[step - low]

    def lengths(self, at: Ints) -> Ints:
        """Drafts per sequence in the steps `at`, (steps, ranks)."""
        steps = np.array([tree.steps for tree in self.trees])[self.kind[at]]
        return np.broadcast_to(steps[:, None], (len(at), self.given.shape[1]))

    def causes(self, epochs: Epochs, timer: SpeculativeTimer) -> dict[str, NDArray[np.generic]]:
        """Derived columns of every step, (steps, ranks)."""
        levels = epochs.levels(self.place["step"])
        lists = timer.levels or (timer,)
        which = self.kind * len(lists) + levels
        out: dict[str, NDArray[np.generic]] = {}
        for one in np.unique(which):
            mine = which == one
            kind, level = divmod(int(one), len(lists))
            some = {k: v[mine] for k, v in self.shapes.items()}
            for name, seconds in _priced(lists[level].drafting(self.trees[kind]), some).items():
                out.setdefault(name, np.zeros(self.given.shape))[mine] = seconds
        decodes = self.shapes["decodes"]
        drafted = self.lengths(np.arange(len(decodes))) * decodes
        out["drafts"] = drafted
        out["accepted"] = np.where(drafted > 0, self.given - decodes, 0)
        return out


def _priced(timer: SpeculativeTimer, s: Shapes) -> dict[str, Array]:
    """With what the decodes alone take, with the drafts and without."""
    out = timer.breakdown(s)
    alone = {k: v if "prefill" not in k else np.zeros_like(v) for k, v in s.items()}
    alone |= {f"capped_pairs_{i}": np.zeros_like(s["decodes"]) for i in (1, 2)}
    alone["sampled"] = s["decodes"]
    priced = timer.breakdown(alone) | {"host_s": out["host_s"]}
    some = np.broadcast_to((s["decodes"].sum(axis=1) > 0)[:, None], s["decodes"].shape)
    whole = sum(priced.values(), np.zeros(s["decodes"].shape))
    out["decode_alone_s"] = np.where(some, whole, 0.0)
    out["decode_alone_collective_s"] = np.where(some, priced["collective_s"], 0.0)
    out["decode_alone_draft_s"] = np.where(some, priced["draft_s"], 0.0)
    out["plain_s"] = np.where(some, timer.plain.seconds(alone)[:, None], 0.0)
    return out
