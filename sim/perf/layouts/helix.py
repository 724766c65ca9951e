"""Helix parallelism (arXiv 2507.07120): the same devices are arranged twice in every layer.

Attention runs on a grid of `kvp · tpa` devices: `tpa` share the heads, `kvp` groups share the KV
cache by position. Each computes queries, keys and values of its heads for all tokens (weights
copied `kvp` times), attends to its part of the context, and one all-to-all over query heads brings
the partial results together, whatever the context. The output projection and the feed-forward part
then run over all `kvp · tpa` devices, experts on a grid of `tpf · ep`, an all-reduce behind each.
"""

from __future__ import annotations

from sim.catalog.model import Model, MoeFfn
from sim.errors import ScenarioError
from sim.perf.spread import Spread, Words, check_division, kv_bound
from sim.settings import settings
from sim.units import PositiveInt

_WORDS = Words("tpa", "kvp·tpa", "kvp·tpa", "ep", "tpf")


@settings
class Helix:
    """KV shared by position in attention, tensor and expert parallelism over all in the rest."""

    kvp: PositiveInt = 1
    """Groups that share the KV cache by position."""
    tpa: PositiveInt = 1
    """Devices that share the heads; at most the model's KV heads."""
    ep: PositiveInt = 1
    """Groups that the routed experts are dealt to; divides kvp · tpa."""
    tpf: PositiveInt | None = None
    """Devices that share one expert; kvp · tpa / ep when left out."""
    hop_b: bool = True
    """Whether a sequence's exchange runs beside the next one's attention."""
    append_tokens: PositiveInt = 16
    """New tokens that one KV group takes before the next one's turn (arXiv 2507.07120, section
    2.3: 16; TensorRT-LLM: a block of 32)."""

    def plan(self, model: Model) -> Spread:
        """The spread; refused when tpa exceeds the KV heads or the grids do not agree."""
        devices, bound = self.kvp * self.tpa, kv_bound(model)
        if self.tpa > bound:
            raise ScenarioError(
                f"layout: tpa={self.tpa} is more devices than {model.name} has KV heads to share "
                f"({bound}); write tpa <= {bound} and a larger kvp"
            )
        if self.ep > 1 and not any(isinstance(x.ffn, MoeFfn) for x in model.layer_counts):
            raise ScenarioError(
                f"layout: ep={self.ep} but {model.name} has no experts; leave it out"
            )
        tpf = devices // self.ep if self.tpf is None else self.tpf
        if tpf * self.ep != devices:
            raise ScenarioError(
                f"layout: tpf·ep = {tpf}·{self.ep} are not the kvp·tpa = {devices} devices of "
                f"attention; write an ep that divides {devices}, and leave tpf out"
            )
        spread = Spread(
            text=f"Helix KVP{self.kvp}·TPA{self.tpa}" + (f"·EP{self.ep}" if self.ep > 1 else ""),
            ranks=1,
            stages=1,
            attention_tp=self.tpa,
            ffn_tp=devices,
            expert_parallel=self.ep,
            expert_tp=tpf,
            kv_parallel=self.kvp,
            sharing="hop_b" if self.hop_b else "exposed",
            output_parallel=self.kvp,
            append_tokens=self.append_tokens,
        )
        check_division(model, spread, _WORDS)
        return spread
