"""Shorter drafts for larger batches, by a table: vLLM's `num_speculative_tokens_per_batch_size`
(vllm-project/vllm pull request 32374); with one length and nothing above it, the older
`disable_by_batch_size`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from pydantic import Field

from sim.engine.speculations import DraftServices, Situation
from sim.settings import settings


@settings
class ByBatch:
    """A table of lengths."""

    lengths: Annotated[
        dict[Annotated[int, Field(ge=1)], Annotated[int, Field(ge=0)]], Field(min_length=1)
    ]
    """Most sequences on a rank → drafts: `{8: 5, 64: 2}` is 5 drafts up to 8 sequences, 2 up to 64,
    none above."""
    hysteresis: Annotated[float, Field(ge=0, lt=1)] = 0.1
    """A bound that was passed is passed back only when the batch is this share below it."""

    def start(self, services: DraftServices) -> _ByBatch:
        """With the table in order."""
        longest = max(self.lengths.values())
        if longest > services.most:
            raise ValueError(
                f"by_batch.lengths asks for {longest} drafts and the draft has {services.most}; "
                "write fewer, or raise its draft_tokens"
            )
        return _ByBatch(tuple(sorted(self.lengths.items())), 1.0 - self.hysteresis)


@dataclass(eq=False, slots=True)
class _ByBatch:
    table: tuple[tuple[int, int], ...]
    share: float
    row: int = 0

    def length(self, now: Situation) -> int:
        up = self._row(now.sequences)
        if up > self.row:
            self.row = up
        elif up < self.row:
            bound = self.table[self.row - 1][0] * self.share
            if now.sequences <= bound:
                self.row = max(up, self._row(now.sequences / self.share))
        return self.table[self.row][1] if self.row < len(self.table) else 0

    def _row(self, sequences: float) -> int:
        return next((i for i, (most, _) in enumerate(self.table) if sequences <= most),
                    len(self.table))  # fmt: skip
