"""Activations in host memory, token by token (MEMO, arXiv 2407.12117): for very long sequences.

A layer's input and its attention's output always leave the GPU, behind the layer's own forward
pass, and come back behind the next backward pass; of the rest as large a share of the tokens
follows as PCIe and host memory let, and the other tokens are recomputed, the attention core never.
"""

from __future__ import annotations

from dataclasses import dataclass

from sim.catalog.model import GroupedAttention, LatentAttention, Layer
from sim.perf.training.batch import MicroBatch
from sim.perf.training.layer_cost import Coster, PassCost
from sim.perf.training.memory import layer_activations
from sim.perf.training.recipe import Swap
from sim.perf.training.sizes import score_width


@dataclass(frozen=True, slots=True)
class Swapped:
    """How one layer's activations of one micro-batch are kept."""

    always_bytes: float
    """Input and attention output."""
    rest_bytes: float
    """Everything else."""
    share: float
    """Of the tokens whose rest is swapped too; the others' is recomputed."""

    @property
    def nbytes(self) -> float:
        """To host memory, and back."""
        return self.always_bytes + self.share * self.rest_bytes


def swapped(
    coster: Coster, layer: Layer, micro: MicroBatch, forward_s: float, layers: int
) -> Swapped:
    """The largest share of tokens that PCIe moves within the layer's forward pass and of which host
    memory holds `layers` layers."""
    layout, recipe = coster.layout, coster.recipe
    swap = recipe.swap or Swap()
    tokens = coster.tokens(micro)
    always = tokens * 2.0 * coster.hidden / layout.share
    if isinstance(layer.attention, GroupedAttention | LatentAttention):
        always += tokens * 2.0 * layer.attention.q_heads / layout.tp * score_width(layer)[1]
    kept = layer_activations(layer, coster.hidden, layout, recipe, micro)
    rest = max(1.0, kept - always)
    room = min(forward_s * _pcie(coster, swap), swap.host_bytes / layers)
    return Swapped(always, rest, min(1.0, max(0.0, (room - always) / rest)))


def swapped_cost(
    coster: Coster, layer: Layer, micro: MicroBatch, cost: PassCost, layers: int
) -> PassCost:
    """A layer's passes with swapping instead of recomputing all: what PCIe takes beyond a pass
    holds it up."""
    forward_s = cost.forward_s
    made = swapped(coster, layer, micro, forward_s, layers)
    pcie = _pcie(coster, coster.recipe.swap or Swap())
    again = {k: (1.0 - made.share) * v for k, v in cost.forward.items() if k != "attention"}
    back_s = sum(again.values()) + sum(cost.backward.values()) + cost.weights_s
    out = max(0.0, made.always_bytes / pcie - forward_s)
    back = max(0.0, made.nbytes / pcie - back_s)
    return PassCost(
        cost.forward | {"swap": out}, again, cost.backward | {"swap": back}, cost.weights
    )


def _pcie(coster: Coster, swap: Swap) -> float:
    return coster.kernels.gpu.pcie_bytes_per_s * swap.pcie_fraction
