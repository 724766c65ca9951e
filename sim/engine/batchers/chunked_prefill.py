"""Decodes ride along in every pass; what is left of the token budget goes to prompts, in chunks
(Sarathi: Agrawal et al., 2023; vLLM's default)."""

from __future__ import annotations

from sim.engine.batchers._prompts import go_on, let_in
from sim.engine.rank import Chunk, Rank
from sim.engine.verify_lane import AnyLane
from sim.settings import settings


@settings
class ChunkedPrefill:
    """Token budget shared by decodes and prompt chunks."""

    @property
    def mixed(self) -> bool:
        """Decodes ride along."""
        return True

    def plan(self, rank: Rank, lane: AnyLane, admit: bool) -> list[Chunk]:
        """First those whose prompt is begun, then the waiting line, until the budget is used."""
        chunks: list[Chunk] = []
        budget = rank.limits.max_num_batched_tokens - lane.decode_tokens
        if rank.prefilling:
            budget = go_on(rank, budget, chunks)
        if admit:
            let_in(rank, budget, rank.places(lane), chunks)
        return chunks
