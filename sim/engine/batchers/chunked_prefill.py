"""Decodes ride along in every pass; what is left of the token budget goes to prompts, in chunks
(Sarathi: Agrawal et al., 2023; vLLM's default)."""

from __future__ import annotations

from sim.engine.lane import Lane
from sim.engine.rank import Chunk, Rank
from sim.settings import settings


@settings
class ChunkedPrefill:
    """Token budget shared by decodes and prompt chunks."""

    @property
    def mixed(self) -> bool:
        """Decodes ride along."""
        return True

    def plan(self, rank: Rank, lane: Lane, admit: bool) -> list[Chunk]:
        """First those whose prompt is begun, then the waiting line, until the budget is used."""
        limits = rank.limits
        budget = limits.max_num_batched_tokens - lane.shape.decodes
        chunks: list[Chunk] = []
        for sequence in list(rank.prefilling):
            if budget <= 0:
                return chunks
            if sequence not in rank.running:
                continue
            chunk = rank.extend(sequence, budget)
            if chunk is None:
                return chunks
            chunks.append(chunk)
            budget -= chunk.tokens
        places = rank.places(lane) if admit else 0
        while budget > 0 and places > 0 and len(rank.waiting):
            chunk = rank.admit(budget)
            if chunk is None:
                break
            chunks.append(chunk)
            budget -= chunk.tokens
            places -= 1
        return chunks
