"""Data-parallel attention with expert parallelism, in lockstep.

Each of `dp` ranks keeps its own requests and KV cache on `tp` devices; the routed experts are dealt
over all `dp · tp` devices, with an all-to-all before and after them, so all ranks step together
(DeepSeek-V3 report, section 3.4; vLLM and SGLang call it DP attention).
"""

from __future__ import annotations

from sim.catalog.model import Model, MoeFfn
from sim.errors import ScenarioError
from sim.perf.spread import Spread, check_division
from sim.settings import settings
from sim.units import PositiveInt


@settings
class DpAttention:
    """`dp` attention ranks of `tp` devices; experts over all of them."""

    dp: PositiveInt
    """Ranks, each with its own waiting line and KV cache."""
    tp: PositiveInt = 1
    """Devices that share the heads of one rank."""
    node_limit: PositiveInt | None = None
    """Most nodes (scale-up domains) that one token is sent to, where the router limits them
    (DeepSeek-V3 report, section 2.1.2: 4); any number when left out."""

    def plan(self, model: Model) -> Spread:
        """The spread; refused for a model without experts."""
        if not any(isinstance(layer.ffn, MoeFfn) for layer in model.layer_counts):
            raise ScenarioError(
                f"layout: dp_attention deals out experts and {model.name} has none; "
                "use the tensor layout and more engines"
            )
        spread = Spread(
            text=f"DP{self.dp}"
            + (f"·TP{self.tp}" if self.tp > 1 else "")
            + f"·EP{self.dp * self.tp}",
            ranks=self.dp,
            stages=1,
            attention_tp=self.tp,
            ffn_tp=self.tp,
            expert_parallel=self.dp * self.tp,
            expert_tp=1,
            node_limit=self.node_limit,
        )
        check_division(model, spread)
        return spread
