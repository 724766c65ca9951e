"""Blocks of keys, of which a decode step reads the most promising ones, as far as a budget goes.

Every block keeps summaries of its keys (their mean, or minimum and maximum as Quest does, arXiv
2406.10774); a step scores all summaries and reads the best blocks whole. Everything is kept.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from sim.catalog.model import Model
from sim.perf.sparsities import budgeted, with_grouped
from sim.settings import settings
from sim.units import PositiveInt


@settings
class BlockSparse:
    """A token budget over blocks."""

    budget_tokens: PositiveInt
    """Tokens whose keys and values a step reads, per KV head."""
    block_tokens: PositiveInt = 16
    """Tokens of a block (Quest: its page)."""
    summaries: Annotated[int, Field(ge=1, le=2)] = 2
    """Vectors per block: 2 = minimum and maximum of its keys, 1 = their mean."""

    def __post_init__(self) -> None:
        if self.budget_tokens < self.block_tokens:
            raise ValueError(
                f"budget_tokens {self.budget_tokens} is less than one block of "
                f"{self.block_tokens} tokens; raise it"
            )

    def apply(self, model: Model) -> Model:
        """A summary is as large as a key, which is half of a pair."""
        scan = self.summaries / self.block_tokens / 2.0
        return with_grouped(
            model,
            "block_sparse",
            lambda a: budgeted(a, self.budget_tokens, scan=scan, kept=1.0 + scan),
        )

    def assumptions(self) -> list[dict[str, str]]:
        """The budget is kept at any length; quality is not simulated."""
        value = f"{self.budget_tokens} tokens"
        source = "scenario; selection is taken to be free of a kernel of its own beside the scan"
        return [{"what": "block-sparse budget", "value": value, "source": source}]
