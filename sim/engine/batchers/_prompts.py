"""What batchers share: handing tokens to prompts that are begun, and to the waiting line."""

from __future__ import annotations

from sim.engine.rank import Chunk, Rank


def go_on(rank: Rank, budget: int, chunks: list[Chunk]) -> int:
    """Give tokens to the prompts that are begun, in order of admission; what is left of the budget,
    0 when one of them found no room."""
    for sequence in list(rank.prefilling):
        if budget <= 0:
            return 0
        if sequence not in rank.running:
            continue
        chunk = rank.extend(sequence, budget)
        if chunk is None:
            return 0
        chunks.append(chunk)
        budget -= chunk.tokens
    return budget


def let_in(rank: Rank, budget: int, places: int, chunks: list[Chunk]) -> None:
    """Give the rest to the waiting line, in its order, to at most `places` of it."""
    while budget > 0 and places > 0 and rank.waiting:
        chunk = rank.admit(budget)
        if chunk is None:
            return
        chunks.append(chunk)
        budget -= chunk.tokens
        places -= 1
