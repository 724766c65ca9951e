"""Tensor parallelism inside pipeline stages, with experts split or dealt out.

Heads and feed-forward widths are divided over `tp` devices (Megatron-LM, Shoeybi et al. 2019), two
all-reduces a layer; layers over `pp` stages. With `ep` the routed experts are dealt to groups
instead of being cut: every device sees all tokens and the same all-reduce adds up the experts.
"""

from __future__ import annotations

from sim.catalog.model import Model, MoeFfn
from sim.errors import ScenarioError
from sim.perf.spread import Spread, check_division
from sim.settings import settings
from sim.units import PositiveInt


@settings
class Tensor:
    """`tp` devices a stage, `pp` stages, experts over `ep` of the `tp` devices."""

    tp: PositiveInt = 1
    """Devices that share every layer."""
    pp: PositiveInt = 1
    """Pipeline stages."""
    ep: PositiveInt = 1
    """Groups that the routed experts are dealt to; divides tp."""
    sequence_parallel: bool = False
    """Whether norms run on 1/tp of the tokens each, between a reduce-scatter and an all-gather in
    place of every all-reduce (Korthikanti et al., arXiv 2205.05198, section 4.2.2)."""

    def plan(self, model: Model) -> Spread:
        """The spread; refused when heads, widths, experts or tp do not divide."""
        if self.tp % self.ep:
            raise ScenarioError(
                f"layout: ep={self.ep} does not divide tp={self.tp}; the experts are dealt over "
                f"the same devices, so write an ep that divides tp (or use dp_attention)"
            )
        if self.sequence_parallel and self.tp == 1:
            raise ScenarioError(
                "layout: sequence_parallel has no effect with tp=1; write a larger tp or leave it "
                "out"
            )
        spread = Spread(
            text=f"TP{self.tp}"
            + ("·SP" if self.sequence_parallel else "")
            + (f"·PP{self.pp}" if self.pp > 1 else "")
            + (f"·EP{self.ep}" if self.ep > 1 else ""),
            ranks=1,
            stages=self.pp,
            attention_tp=self.tp,
            ffn_tp=self.tp,
            expert_parallel=self.ep,
            expert_tp=self.tp // self.ep,
            sequence_parallel=self.sequence_parallel,
        )
        if self.ep > 1 and not any(isinstance(layer.ffn, MoeFfn) for layer in model.layer_counts):
            raise ScenarioError(
                f"layout: ep={self.ep} but {model.name} has no experts; leave it out"
            )
        check_division(model, spread)
        return spread
