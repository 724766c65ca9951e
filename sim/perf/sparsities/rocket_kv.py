"""RocketKV (arXiv 2502.14051v2): part of a prompt's cache is kept, and a decode step reads as much
as a budget of whole pairs, half to select and half to attend (`sim.perf.rocketkv`)."""

from __future__ import annotations

from sim.catalog.model import Model
from sim.perf.rocketkv import RocketKv as Compression
from sim.perf.sparsities import budgeted, with_grouped
from sim.settings import settings
from sim.units import PositiveInt


@settings
class RocketKv:
    """Two stages, or all of them kept for later turns."""

    budget_tokens: PositiveInt
    """t: K/V pairs that a step reads, per KV head."""
    prompt_tokens: PositiveInt
    """Length of prompt at which the kept share is worked out; the pool counts every sequence by
    it, longer ones are in truth compressed more and shorter ones less."""
    multi_turn: bool = False
    """Keep everything (RocketKV-MT)."""

    def __post_init__(self) -> None:
        self._compression()

    def _compression(self) -> Compression:
        return Compression(self.prompt_tokens, self.budget_tokens, self.multi_turn)

    def apply(self, model: Model) -> Model:
        """A step reads t pairs whatever the length; the kept share is that of the formulae."""
        kept = self._compression().storage
        return with_grouped(
            model, "rocket_kv", lambda a: budgeted(a, self.budget_tokens, scan=0.0, kept=kept)
        )

    def assumptions(self) -> list[dict[str, str]]:
        """The share that is kept, and of what."""
        made = self._compression()
        return [
            {
                "what": "RocketKV cache kept",
                "value": f"{made.storage:.3g} of the full cache",
                "source": f"assumed: every prompt is compressed like one of {self.prompt_tokens}",
            }
        ]
