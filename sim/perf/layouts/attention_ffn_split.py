"""Attention on some GPUs, feed-forward layers on others, micro-batches to and fro between them
(MegaScale-Infer, arXiv 2504.02263; Step-3, arXiv 2507.19427).

`attention.dp` ranks keep requests and KV caches, on `attention.tp` devices each. The feed-forward
GPUs hold the experts, dealt to `ffn.ep` groups of `ffn.tp` devices, with routers, shared experts
and dense layers copied to every group. A token goes to each group that has one of its experts.
"""

from __future__ import annotations

from sim.catalog.model import Model, MoeFfn
from sim.errors import ScenarioError
from sim.perf.spread import Spread, Words, check_division
from sim.settings import settings
from sim.units import PositiveInt

_WORDS = Words("attention.tp", "attention.tp", "ffn.tp", "ffn.ep", "ffn.tp")


@settings
class _Attention:
    """The GPUs of attention."""

    dp: PositiveInt = 1
    """Ranks, each with its own waiting line and KV cache."""
    tp: PositiveInt = 1
    """Devices that share the heads of one rank."""


@settings
class _Ffn:
    """The GPUs of feed-forward layers."""

    tp: PositiveInt = 1
    """Devices that share a layer or an expert."""
    ep: PositiveInt = 1
    """Groups that the routed experts are dealt to."""


@settings
class AttentionFfnSplit:
    """Two kinds of GPUs and `micro_batches` between them."""

    attention: _Attention = _Attention()
    ffn: _Ffn = _Ffn()
    micro_batches: PositiveInt = 3
    """Parts of a step in flight: 2 hide the other side's work, 3 the transfer too (arXiv
    2504.02263, section 4.1)."""

    def plan(self, model: Model) -> Spread:
        """The spread; refused when heads, widths or experts do not divide."""
        dp, tp, ffn = self.attention.dp, self.attention.tp, self.ffn
        if ffn.ep > 1 and not any(isinstance(x.ffn, MoeFfn) for x in model.layer_counts):
            raise ScenarioError(
                f"layout: ffn.ep={ffn.ep} but {model.name} has no experts; leave it out"
            )
        spread = Spread(
            text=f"A(DP{dp}·TP{tp})+F(EP{ffn.ep}·TP{ffn.tp})",
            ranks=dp,
            stages=1,
            attention_tp=tp,
            ffn_tp=ffn.tp,
            expert_parallel=ffn.ep,
            expert_tp=ffn.tp,
            ffn_devices=ffn.ep * ffn.tp,
            micro_batches=self.micro_batches,
        )
        check_division(model, spread, _WORDS)
        return spread
