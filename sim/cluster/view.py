"""What routers see of engines: columns kept up to date by commits, one entry a seat.

A *seat* is one rank of one engine. Columns are numpy arrays, so that a policy looks at a thousand
engines in a microsecond; nothing in them is known only in hindsight.
"""

from __future__ import annotations

from collections.abc import Sequence as Many
from typing import Any

from numpy.typing import NDArray

from sim.engine.engine import Engine
from sim.engine.ports import ONE_REQUEST
from sim.workload.request import Ask


class View:
    """The seats that a router may choose from."""

    __slots__ = ("_engines", "_ranks", "load")

    def __init__(self, load: NDArray[Any]) -> None:
        self.load = load
        """`requests · ONE_REQUEST + prompt tokens to compute` of every seat: its order is by
        requests, then by tokens."""
        self._engines: list[Engine] = []
        self._ranks: list[int] = []

    def __len__(self) -> int:
        return len(self.load)

    @property
    def requests(self) -> NDArray[Any]:
        """Sequences waiting, running or on their way, by seat."""
        return self.load // ONE_REQUEST

    @property
    def tokens(self) -> NDArray[Any]:
        """Prompt tokens still to compute, by seat."""
        return self.load % ONE_REQUEST

    def seat_engines(self, engines: Many[Engine]) -> None:
        """Fill the next seats: the first rank of every engine, then the second ones, and so on, so
        that a policy that takes the first of equals spreads over engines before ranks."""
        for rank in range(len(engines[0].ranks)):
            for engine in engines:
                self._engines.append(engine)
                self._ranks.append(rank)

    def seat(self, index: int) -> tuple[Engine, int]:
        """(engine, rank) of a seat."""
        return self._engines[index], self._ranks[index]

    def cached_tokens(self, index: int, ask: Ask) -> int:
        """Prompt tokens that a seat's prefix cache would save now."""
        engine, rank = self.seat(index)
        engine.settle()
        mine = engine.ranks[rank].prefixes
        return mine.saved_tokens(ask, len(mine.match(ask)), ask.prompt_tokens)
