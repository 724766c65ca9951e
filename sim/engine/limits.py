"""What a rank may do at most."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class RankLimits:
    """What a rank may do at most."""

    max_num_seqs: int
    max_num_batched_tokens: int
    context_tokens: int
    """Longest sequence that it takes."""
    block_tokens: int
    prefix_caching: bool
    lookahead_tokens: int = 0
    """Room that a decoding sequence needs beside its next token: its drafts."""
