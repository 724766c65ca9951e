"""Context parallelism: the tokens of a prompt, and with them its KV cache, over `cp` groups.

Every group of `tp` devices has a copy of the weights and runs 1/cp of the tokens of a step. Keys
and values go round a ring, each hop beside the attention to the keys at hand (ring attention, arXiv
2310.01889; pass-KV, arXiv 2411.01783), or are gathered before it (Llama 3, arXiv 2407.21783,
section 3.3.2). Causal work is balanced by giving every group an early and a late piece ("zig-zag").

Decodes are dealt to the groups too. Each group's queries are gathered, every group attends to its
part of all contexts, and an all-to-all returns the partial results, exposed (batched decode of
arXiv 2411.01783, section 3.6). That shares the reading of long contexts, not that of the weights.
"""

from __future__ import annotations

from typing import Literal

from sim.catalog.model import Model
from sim.perf.spread import Spread, check_division
from sim.settings import settings
from sim.units import PositiveInt


@settings
class ContextParallel:
    """`cp` groups of `tp` devices."""

    cp: PositiveInt = 1
    """Groups that share the tokens of a prompt."""
    tp: PositiveInt = 1
    """Devices that share every layer of a group."""
    method: Literal["ring", "all_gather"] = "ring"
    """How keys and values reach the other groups."""

    def plan(self, model: Model) -> Spread:
        """The spread; refused when tp does not divide the model."""
        spread = Spread(
            text=f"CP{self.cp}·TP{self.tp}",
            ranks=1,
            stages=1,
            attention_tp=self.tp,
            ffn_tp=self.tp,
            expert_parallel=1,
            expert_tp=self.tp,
            kv_parallel=self.cp,
            token_parallel=self.cp,
            sharing=self.method,
        )
        check_division(model, spread)
        return spread
