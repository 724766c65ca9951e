"""A batch is let in when the engine is empty and runs until its last member ends: the baseline from
before continuous batching."""

from __future__ import annotations

from sim.engine.batchers._prompts import go_on, let_in
from sim.engine.rank import Chunk, Rank
from sim.engine.verify_lane import AnyLane
from sim.settings import settings


@settings
class Static:
    """Static batching."""

    @property
    def mixed(self) -> bool:
        """Prompts are prefilled before anyone decodes."""
        return False

    def plan(self, rank: Rank, lane: AnyLane, admit: bool) -> list[Chunk]:
        """Go on with the batch's prompts; let a new batch in only when the last one is gone."""
        chunks: list[Chunk] = []
        opening = not rank.running or bool(rank.prefilling)
        budget = go_on(rank, rank.limits.max_num_batched_tokens, chunks)
        if admit and opening:
            let_in(rank, budget, rank.places(lane), chunks)
        return chunks
