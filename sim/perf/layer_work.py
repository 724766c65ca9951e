"""What one layer asks of one device: products, passes over activations, experts, collectives.

Nothing here knows a GPU; a timer's kernels turn the work into seconds.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from sim.catalog.counting import latent_matrices
from sim.catalog.formats import Format
from sim.catalog.model import Layer, MoeFfn, NoAttention, NoFfn
from sim.perf.attentions import AttentionWork, cost_of
from sim.perf.attentions.grouped import ACTIVATION_BYTES
from sim.perf.task import PriceTask

Operation = Literal["all_reduce", "all_gather", "reduce_scatter", "all_to_all"]
Scope = Literal["rank", "stage", "heads", "kv"]
"""Among which devices: those of a rank, all of a stage, those that share heads, those that share a
sequence's KV."""

NORM_NUMBERS = 4
"""Activations per hidden element that a norm with its residual addition moves: two vectors read,
two written (RMSNorm fused with the addition, as in vLLM's fused_add_rms_norm)."""


@dataclass(frozen=True, slots=True)
class Product:
    """A weight matrix applied to the tokens of a rank."""

    name: str
    inputs: int
    outputs: int
    format: Format


@dataclass(frozen=True, slots=True)
class Pass:
    """An elementwise pass over activations."""

    name: str
    numbers: float
    """Activations read and written per token."""


@dataclass(frozen=True, slots=True)
class Routed:
    """The routed experts that one device holds."""

    ffn: MoeFfn
    hidden: int
    """Width of the vectors that experts read and write."""
    width: int
    """Intermediate width on this device."""
    parallel: int
    """Groups that the experts are dealt to."""
    format: Format

    @property
    def local_experts(self) -> float:
        """Experts on this device."""
        return self.ffn.experts / self.parallel


@dataclass(frozen=True, slots=True)
class Exchange:
    """A collective over `bytes_per_token` of a rank's tokens (all_to_all: what leaves a device)."""

    operation: Operation
    bytes_per_token: float
    scope: Scope


@dataclass(frozen=True, slots=True)
class LayerWork:
    """All work of one layer on one device, but for attention itself."""

    projections: tuple[Product, ...]
    """Into and out of attention."""
    products: tuple[Product, ...]
    """Of the feed-forward part."""
    passes: tuple[Pass, ...]
    routed: Routed | None
    exchanges: tuple[Exchange, ...]


def layer_work(task: PriceTask, layer: Layer) -> LayerWork:
    """The work of `layer` under the task's layout and formats."""
    products, passes = _attention_side(task, layer)
    more, further, routed = _ffn_side(task, layer)
    return LayerWork(products, more, passes + further, routed, _exchanges(task, layer))


def attention_works(task: PriceTask, layer: Layer) -> tuple[AttentionWork, ...]:
    """The kinds of attention work of a layer on one device."""
    a, kv_bytes = layer.attention, task.formats.kv.bits / 8
    return cost_of(a).work(a, task.spread.attention_tp, kv_bytes)


def _attention_side(task: PriceTask, layer: Layer) -> tuple[tuple[Product, ...], tuple[Pass, ...]]:
    hidden, spread, fmt = task.model.hidden, task.spread, task.formats.weights
    matrices = cost_of(layer.attention).matrices(layer.attention, hidden, spread.attention_tp)
    if not matrices:
        return (), ()
    # where devices share a sequence's KV, all of them together share the output projection
    cut = spread.kv_parallel if spread.token_parallel == 1 else 1
    products = tuple(
        Product(name, inputs // (cut if name == "o" else 1), outputs, fmt)
        for name, (inputs, outputs) in matrices.items()
    )
    return products, (Pass("norm", NORM_NUMBERS * hidden),)


def _ffn_side(
    task: PriceTask, layer: Layer
) -> tuple[tuple[Product, ...], tuple[Pass, ...], Routed | None]:
    hidden, spread, ffn = task.model.hidden, task.spread, layer.ffn
    fmt = task.formats.weights
    routed_experts = isinstance(ffn, MoeFfn)
    width = ffn.shared_width if isinstance(ffn, MoeFfn) else ffn.width
    products: list[Product] = []
    passes = [Pass("norm", NORM_NUMBERS * hidden)] if width or routed_experts else []
    if width:
        local = -(-width // spread.ffn_tp)
        products.append(Product("up", hidden, (1 + ffn.gated) * local, fmt))
        products.append(Product("down", local, hidden, fmt))
        passes.append(Pass("activation", (2 + ffn.gated) * local))
    if not isinstance(ffn, MoeFfn):
        return tuple(products), tuple(passes), None
    products.append(Product("router", hidden, ffn.experts, fmt))
    for name, (inputs, outputs) in latent_matrices(ffn, hidden).items():
        products.append(Product(name, inputs, outputs, fmt))
    routed = Routed(
        ffn=ffn,
        hidden=ffn.latent or hidden,
        width=-(-ffn.width // spread.expert_tp),
        parallel=spread.expert_parallel,
        format=task.formats.experts,
    )
    return tuple(products), tuple(passes), routed


def _exchanges(task: PriceTask, layer: Layer) -> tuple[Exchange, ...]:
    """An all-reduce after attention and one after the feed-forward part; with lockstep ranks, an
    all-to-all to the experts and back (each token to each device at most once)."""
    spread, hidden = task.spread, task.model.hidden * ACTIVATION_BYTES
    reduce = Exchange("all_reduce", hidden, "rank")
    out = [] if isinstance(layer.attention, NoAttention) else [reduce]
    if isinstance(layer.ffn, NoFfn):
        return tuple(out)
    if spread.ranks == 1 or not isinstance(layer.ffn, MoeFfn):
        return (*out, reduce)
    n, sent = spread.expert_parallel, (layer.ffn.latent or task.model.hidden) * ACTIVATION_BYTES
    reached = (n - 1) * (1.0 - (1.0 - 1.0 / n) ** layer.ffn.top_k)
    there = Exchange("all_to_all", sent * reached / spread.attention_tp, "stage")
    return (*out, there, there)
