"""The last admitted gives up its KV and computes it again later, generated tokens included
(vLLM's default)."""

from __future__ import annotations

from collections.abc import Iterator

from sim.engine.sequence import Sequence
from sim.settings import settings


@settings
class Recompute:
    """Preempt the last admitted by recomputation."""

    def reservation_tokens(self, sequence: Sequence, context_tokens: int) -> int | None:
        """Nothing is reserved ahead."""
        return None

    def victim(self, newest_first: Iterator[Sequence]) -> Sequence | None:
        """The last admitted."""
        return next(newest_first, None)
