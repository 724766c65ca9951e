"""How many tokens verify steps give, drawn for many requests and steps at once.

A verify step of a request has one uniform number, a function of (seed, request, number of the step
since its first decode); it gives as many tokens as survival says at that number
(`acceptance.latent_runs`). So a request draws what it would have drawn whatever else happens, and
with another draft length, or a draft that lags behind, the same numbers meet another law.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from sim.perf.acceptances import Acceptance
from sim.perf.speculation.acceptance import CHUNK, Tree, behind, parts_of, tree_survival
from sim.rng import Draws, bits_at

STREAM, CLASSES = "acceptance", "acceptance_class"
"""Streams of draws: of verify steps, and of the class of a request."""
AT_ONCE = 1 << 15
"""Draws that are made in one piece: their arrays stay in a core's cache."""

MOST_OPENINGS = 1 << 12
"""Blocks of 64 requests whose first steps are kept: 16 MiB."""

Numbers = NDArray[np.int64]
Keys = NDArray[np.uint64]


@dataclass(eq=False, slots=True)
class Verdicts:
    """The draws of one law of acceptance under one seed."""

    law: Acceptance
    seed: int
    _draws: Draws = field(init=False)
    _edges: NDArray[np.float64] = field(init=False)
    _known: dict[tuple[Tree, int], Keys] = field(default_factory=dict)
    _keys: dict[int, list[int]] = field(default_factory=dict)
    _openings: dict[tuple[int, Tree, int], NDArray[np.int8]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._draws = Draws(self.seed, STREAM)
        self._edges = np.cumsum([share for share, _ in parts_of(self.law)])[:-1]

    def key(self, request: int) -> int:
        """What `tokens` needs of a request."""
        block, place = divmod(request, CHUNK)
        found = self._keys.get(block)
        if found is None:
            if len(self._keys) >= MOST_OPENINGS:
                self._keys.clear()
            found = self._draws.keys(np.arange(block * CHUNK, (block + 1) * CHUNK)).tolist()
            self._keys[block] = found
        return found[place]

    def kind(self, request: int) -> int:
        """Which part of the law a request is under."""
        if not len(self._edges):
            return 0
        drawn = Draws(self.seed, CLASSES).uniform(request)
        return int(np.searchsorted(self._edges, drawn, side="right"))

    def opening(self, request: int, tree: Tree, lag: int = 0) -> NDArray[np.int8]:
        """(64,) tokens of the first verify steps of a request, drawn with those of its neighbours:
        most sequences join a batch with these."""
        block, place = divmod(request, CHUNK)
        found = self._openings.get((block, tree, lag))
        if found is None:
            if len(self._openings) >= MOST_OPENINGS:
                self._openings.clear()
            all_of = range(block * CHUNK, (block + 1) * CHUNK)
            keys = np.array([self.key(r) for r in all_of], dtype=np.uint64)
            kinds = np.array([self.kind(r) for r in all_of])
            first = np.zeros(CHUNK, dtype=np.int64)
            found = self.tokens(keys, kinds, first, CHUNK, tree, lag)
            self._openings[block, tree, lag] = found
        row: NDArray[np.int8] = found[place]
        return row

    def tokens(
        self, keys: Keys, kinds: Numbers, first: Numbers, count: int, tree: Tree, lag: int = 0
    ) -> NDArray[np.int8]:
        """(requests, count) tokens of the verify steps `first`, `first` + 1, … of each request;
        `lag` versions lie between the target and the draft."""
        if not tree.steps:
            return np.ones((len(keys), count), dtype=np.int8)
        out = np.empty((len(keys), count), dtype=np.int8)
        limits = self._limits(tree, lag)
        rows = max(1, AT_ONCE // count)
        for low in range(0, len(keys), rows):
            part = slice(low, low + rows)
            bits = bits_at(keys[part], first[part], count)
            mine = limits if len(limits) == 1 else limits[kinds[part]]
            below = bits < mine.T[:, :, None]
            np.add.reduce(below.view(np.int8), axis=0, initial=1, out=out[part])
        return out

    def _limits(self, tree: Tree, lag: int) -> Keys:
        """(kinds, steps): a step gives more than i + 1 tokens if its bits are below limit i."""
        found = self._known.get((tree, lag))
        if found is None:
            laws = [behind(part, lag) for _, part in parts_of(self.law)]
            chances = [tree_survival(law, tree) for law in laws]
            made = [[_bits_below(float(s)) for s in row] for row in chances]
            found = self._known[tree, lag] = np.array(made, dtype=np.uint64)
        return found


def _bits_below(chance: float) -> int:
    """The first 64 bits whose uniform number is not below a chance."""
    low, high = 0, (1 << 53) - 1
    while low < high:
        middle = (low + high) // 2
        if (float(middle) + 0.5) * 2.0**-53 < chance:
            low = middle + 1
        else:
            high = middle
    return low << 11
