"""How a rank keeps its KV pool from running over, one policy a file."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

from sim.engine.sequence import Sequence


class Preemption(Protocol):
    """What every file here provides."""

    def reservation_tokens(self, sequence: Sequence, context_tokens: int) -> int | None:
        """Tokens of room to reserve on admission, or None to grow block by block. `context_tokens`
        is the longest sequence that the engine takes."""

    def victim(self, newest_first: Iterator[Sequence]) -> Sequence | None:
        """Who is sent back when a block is missing; None = nobody. Offered are the running
        sequences that no pass is working on, the last admitted first."""
