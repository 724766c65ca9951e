"""Nobody is sent back: room for the longest possible answer is reserved on admission, as in Orca
(Yu et al., OSDI 2022)."""

from __future__ import annotations

from collections.abc import Iterator

from sim.engine.sequence import Sequence
from sim.settings import settings


@settings
class NonePreempted:
    """Reserve prompt plus the declared maximum (the whole context where none is declared)."""

    def reservation_tokens(self, sequence: Sequence, context_tokens: int) -> int | None:
        """The declared length."""
        declared = sequence.ask.max_tokens
        if declared is None:
            return context_tokens
        return min(context_tokens, sequence.ask.prompt_tokens + declared)

    def victim(self, newest_first: Iterator[Sequence]) -> Sequence | None:
        """Nobody."""
        return None
