"""A batch is let in when the engine is empty and runs until its last member ends: the baseline from
before continuous batching."""

from __future__ import annotations

from sim.engine.lane import Lane
from sim.engine.rank import Chunk, Rank
from sim.settings import settings


@settings
class Static:
    """Static batching."""

    @property
    def mixed(self) -> bool:
        """Prompts are prefilled before anyone decodes."""
        return False

    def plan(self, rank: Rank, lane: Lane, admit: bool) -> list[Chunk]:
        """Go on with the batch's prompts; let a new batch in only when the last one is gone."""
        budget = rank.limits.max_num_batched_tokens
        chunks: list[Chunk] = []
        begun = list(rank.prefilling)
        for sequence in begun:
            chunk = rank.extend(sequence, budget)
            if chunk is None:
                return chunks
            chunks.append(chunk)
            budget -= chunk.tokens
            if budget <= 0:
                return chunks
        opening = not rank.running or bool(begun)
        places = rank.places(lane) if admit and opening else 0
        while budget > 0 and places > 0 and len(rank.waiting):
            chunk = rank.admit(budget)
            if chunk is None:
                break
            chunks.append(chunk)
            budget -= chunk.tokens
            places -= 1
        return chunks
