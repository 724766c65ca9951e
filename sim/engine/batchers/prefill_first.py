"""Prompts go first, in passes of their own, while decodes wait (vLLM before chunked prefill; Orca's
successors). Short first-token times, stalls between tokens."""

from __future__ import annotations

from sim.engine.rank import Chunk, Rank
from sim.engine.verify_lane import AnyLane
from sim.settings import settings


@settings
class PrefillFirst:
    """Whole prompts up to the token budget; a longer prompt takes several passes."""

    @property
    def mixed(self) -> bool:
        """A pass either prefills or decodes."""
        return False

    def plan(self, rank: Rank, lane: AnyLane, admit: bool) -> list[Chunk]:
        """Prompts that fit whole; the first may be longer than the budget and is then cut."""
        budget = rank.limits.max_num_batched_tokens
        chunks: list[Chunk] = []
        for sequence in list(rank.prefilling):
            chunk = rank.extend(sequence, budget)
            return [chunk] if chunk else []
        places = rank.places(lane) if admit else 0
        while places > 0 and len(rank.waiting):
            if chunks and rank.waiting.peek().target > budget:
                break
            chunk = rank.admit(budget)
            if chunk is None:
                break
            chunks.append(chunk)
            budget -= chunk.tokens
            places -= 1
            if budget <= 0:
                break
        return chunks
