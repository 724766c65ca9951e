"""What routers see of engines: columns kept up to date by commits, one entry a seat.

A *seat* is one rank of one engine. Columns are numpy arrays, so that a policy looks at a thousand
engines in a microsecond; nothing in them is known only in hindsight.
"""

from __future__ import annotations

from collections.abc import Sequence as Many
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sim.engine.engine import Engine
from sim.engine.ports import Gauges
from sim.workload.request import Ask


class View:
    """The seats that a router may choose from."""

    __slots__ = ("_engines", "_ranks", "requests", "tokens")

    def __init__(self, seats: int) -> None:
        self.requests: NDArray[Any] = np.zeros(seats, dtype=np.int64)
        """Sequences waiting, running or on their way there."""
        self.tokens: NDArray[Any] = np.zeros(seats, dtype=np.int64)
        """Prompt tokens still to compute."""
        self._engines: list[Engine] = []
        self._ranks: list[int] = []

    def __len__(self) -> int:
        return len(self.requests)

    def gauges(self, first: int, ranks: int) -> Gauges:
        """The entries of one engine, for it to keep up to date."""
        part = slice(first, first + ranks)
        return Gauges(self.requests[part], self.tokens[part])

    def seat_engines(self, engines: Many[Engine]) -> None:
        """Fill the seats, in order, with the ranks of these engines."""
        for engine in engines:
            for rank in range(len(engine.ranks)):
                self._engines.append(engine)
                self._ranks.append(rank)

    def seat(self, index: int) -> tuple[Engine, int]:
        """(engine, rank) of a seat."""
        return self._engines[index], self._ranks[index]

    def cached_tokens(self, index: int, ask: Ask) -> int:
        """Prompt tokens that a seat's prefix cache would save now."""
        engine, rank = self.seat(index)
        engine.settle()
        mine = engine.ranks[rank]
        hits = mine.cache.match(ask.block_ids) if mine.limits.prefix_caching else 0
        return mine.saved_tokens(ask, hits, ask.prompt_tokens) if hits else 0
