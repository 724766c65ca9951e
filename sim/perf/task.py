"""What a timer is asked to price: a model, spread over devices of one kind, in given formats."""

from __future__ import annotations

from dataclasses import dataclass, replace

from sim.catalog.formats import Format, compute_peak, load_format
from sim.catalog.gpu import Gpu
from sim.catalog.model import Model
from sim.errors import ScenarioError
from sim.network.collectives import Collectives
from sim.perf.attentions import cost_of
from sim.perf.overlaps import Overlap
from sim.perf.shape import MAX_CAPS
from sim.perf.spread import Spread
from sim.settings import settings


@dataclass(frozen=True, slots=True)
class Formats:
    """Number formats of a model as it is served."""

    weights: Format
    experts: Format
    kv: Format
    activations: Format | None = None
    """Format of the operands that meet the weights; None = the weights' own where the GPU has
    units for it, else 16 bit."""

    def runs_in(self, gpu: Gpu, weights: Format) -> Format:
        """The format in which products with `weights` run on `gpu` (`Format.computed_in`); another
        than theirs when they are widened. ScenarioError when the activations' format has no units
        there."""
        if self.activations is not None:
            compute_peak(gpu, self.activations)
        key = weights.computed_in(gpu, self.activations)
        if key == weights.compute and not weights.storage_only:
            return weights
        if self.activations is not None and key == self.activations.compute:
            return self.activations
        return load_format(key)


@settings
class Precision:
    """Number formats; those left out are the checkpoint's own."""

    weights: str | None = None
    """Weights outside the experts."""
    experts: str | None = None
    """Routed experts; as `weights` when left out and the checkpoint names none."""
    kv: str = "bf16"
    """KV cache."""
    activations: str | None = None
    """Operands that meet the weights: `fp8` with `weights: int4` is W4A8. As the weights where the
    GPU computes in their format, else 16 bit, when left out."""

    def formats(self, model: Model) -> Formats:
        """As catalog formats; ScenarioError on an unknown name."""
        weights = self.weights or model.weight_format
        own = model.expert_format if self.weights is None else None
        experts = self.experts or own or weights
        made = Formats(load_format(weights), load_format(experts), load_format(self.kv))
        if self.activations is None:
            return made
        given = load_format(self.activations)
        narrowest = min(made.weights, made.experts, key=lambda f: f.bits)
        if given.bits < narrowest.bits:
            raise ScenarioError(
                f"precision.activations: {given.name} is narrower than the weights "
                f"({narrowest.name}), and no kernel multiplies such a pair; use weights of at most "
                f"{given.bits:g} bits, or leave it out"
            )
        return replace(made, activations=given)


@dataclass(frozen=True, slots=True)
class Wires:
    """Collectives among an engine's devices, from the topology."""

    rank: tuple[Collectives, ...]
    """By stage: among the devices of its first rank."""
    stage: tuple[Collectives, ...]
    """By stage: among all its devices."""
    heads: tuple[Collectives, ...]
    """By stage: among the first devices that share heads."""
    kv: tuple[Collectives, ...]
    """By stage: among the first devices that share the KV of a sequence by position."""
    between: tuple[Collectives, ...]
    """From stage i to stage i + 1."""


@dataclass(frozen=True, slots=True)
class PriceTask:
    """Everything a timer needs to compile a price list."""

    model: Model
    spread: Spread
    gpu: Gpu
    formats: Formats
    wires: Wires
    max_rank_tokens: int
    """Most tokens of one rank in one step."""
    max_sampled: int
    """Most sampled tokens of one rank in one step."""
    overlap: Overlap | None = None
    """How work overlaps inside a step; None = not at all."""

    def caps(self) -> tuple[int, ...]:
        """Distinct limits of attended context that the model's layers declare."""
        found: set[int] = set()
        for layer in self.model.layer_counts:
            a = layer.attention
            works = cost_of(a).work(a, self.spread.attention_tp, self.formats.kv.bits / 8)
            found |= {w.cap_tokens for w in works if w.cap_tokens is not None}
        if len(found) > MAX_CAPS:
            raise ScenarioError(
                f"model: {self.model.name} has {len(found)} different limits of attention "
                f"{sorted(found)}; at most {MAX_CAPS} are supported"
            )
        return tuple(sorted(found))
