"""What an engine needs from those above it, given to it when it is built."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from sim.clock import Clock
from sim.engine.sampler import Sampler
from sim.engine.sequence import Sequence
from sim.record.log import Log

if TYPE_CHECKING:
    from sim.engine.engine import Engine


class Port(Protocol):
    """Hears of sequences and says where they go. Called in the middle of a commit: it must not
    step the engine itself."""

    def keeps(self, engine: Engine, sequence: Sequence) -> bool:
        """Whether a sequence whose prompt was just computed decodes in this engine."""

    def prefilled(self, engine: Engine, rank: int, sequence: Sequence, left: int) -> None:
        """A prompt was computed and a new token sampled; `left` more are to come. If the sequence
        is not kept, its KV is held until `engine.release`."""

    def finished(self, engine: Engine, rank: int, sequence: Sequence) -> None:
        """The last token exists; the KV is given back already."""

    def lost(self, engine: Engine, rank: int, sequence: Sequence) -> None:
        """A fault took the engine while it worked on the sequence."""


LastPass = Callable[["Engine", int, Sequence, float, float], None]
"""(engine, rank, sequence, start, end): the pass that will complete a prompt begins."""


@dataclass(frozen=True, slots=True)
class Services:
    """What every engine shares."""

    clock: Clock
    log: Log
    sampler: Sampler


ONE_REQUEST = 1 << 40
"""Weight of a request in the load column: more than the prompt tokens of any waiting line."""


@dataclass(frozen=True, slots=True)
class Gauges:
    """The part of the cluster's view that this engine keeps up to date, one entry a rank:
    `requests · ONE_REQUEST + prompt tokens still to compute`, so that one comparison orders by
    both."""

    load: memoryview
    """64-bit integers, a window into the view's column (an item costs a third of numpy's)."""

    def came(self, rank: int, prompt_tokens: int) -> None:
        """A request is waiting, or on its way."""
        self.load[rank] += ONE_REQUEST + prompt_tokens

    def left(self, rank: int) -> None:
        """A request is gone."""
        self.load[rank] -= ONE_REQUEST

    def computed(self, rank: int, prompt_tokens: int) -> None:
        """Prompt tokens have been computed."""
        self.load[rank] -= prompt_tokens

    def idlest(self) -> int:
        """The first of the ranks with the fewest requests."""
        return min(range(len(self.load)), key=self.load.__getitem__)

    def nothing_to_compute(self, rank: int) -> None:
        """No prompt is left."""
        self.load[rank] -= self.load[rank] % ONE_REQUEST
