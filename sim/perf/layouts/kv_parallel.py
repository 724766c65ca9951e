"""Vanilla KV parallelism (Medha, arXiv 2409.17264): copies of a tensor-parallel engine share the KV
cache of a sequence by position.

Every group attends to its part; the partial results are gathered, all of it exposed; projections
and the feed-forward part run in every group alike, so that more groups do not read fewer weights
per device (as in the comparison of Helix, arXiv 2507.07120, section 3).
"""

from __future__ import annotations

from sim.catalog.model import Model
from sim.perf.spread import Spread, check_division
from sim.settings import settings
from sim.units import PositiveInt


@settings
class KvParallel:
    """`kvp` groups of `tp` devices."""

    kvp: PositiveInt = 1
    """Groups that share the KV cache by position."""
    tp: PositiveInt = 1
    """Devices that share heads and feed-forward layers in every group."""
    append_tokens: PositiveInt = 16
    """New tokens that one group takes before the next one's turn."""

    def plan(self, model: Model) -> Spread:
        """The spread; refused when tp does not divide the model."""
        spread = Spread(
            text=f"KVP{self.kvp}·TP{self.tp}",
            ranks=1,
            stages=1,
            attention_tp=self.tp,
            ffn_tp=self.tp,
            expert_parallel=1,
            expert_tp=self.tp,
            kv_parallel=self.kvp,
            sharing="exposed",
            append_tokens=self.append_tokens,
        )
        check_division(model, spread)
        return spread
