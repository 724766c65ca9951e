"""Who takes part in the next pass, one way a file.

Decoding sequences that ride along are the rank's business (they always all do); a batcher hands out
the tokens that are left to prompts.
"""

from __future__ import annotations

from typing import Protocol

from sim.engine.rank import Chunk, Rank
from sim.engine.verify_lane import AnyLane


class Batcher(Protocol):
    """What every file here provides."""

    @property
    def mixed(self) -> bool:
        """Whether decoding sequences ride along in a pass that prefills."""

    def plan(self, rank: Rank, lane: AnyLane, admit: bool) -> list[Chunk]:
        """Chunks for the next pass, their KV units taken. `admit` is False right after a
        preemption: then nobody new is let in."""
