"""What one layer asks of one device: products, passes over activations, experts, collectives.

Nothing here knows a GPU; a timer's kernels turn the work into seconds.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from sim.catalog.counting import latent_matrices
from sim.catalog.formats import Format
from sim.catalog.model import (
    GroupedAttention,
    LatentAttention,
    Layer,
    MoeFfn,
    NoAttention,
    NoFfn,
    SparseLatentAttention,
)
from sim.errors import BrokenInvariant
from sim.perf.attentions import AttentionWork, cost_of
from sim.perf.attentions.grouped import ACTIVATION_BYTES
from sim.perf.spread import keeps_kv
from sim.perf.task import PriceTask

Operation = Literal[
    "all_reduce", "all_gather", "reduce_scatter", "all_to_all", "send", "dispatch", "combine"
]
"""`dispatch` takes tokens to the devices of their experts, `combine` brings the results back."""
Scope = Literal["rank", "stage", "heads", "kv"]
"""Among which devices: those of a rank, all of a stage, those that share heads, those that share a
sequence's KV."""

STATISTICS_BYTES = 8.0
"""Per token and head beside a partial result: the running maximum and sum of its softmax, two FP32
(arXiv 2507.07120, section 2.1.2; TensorRT-LLM's Helix)."""
NARROW_BYTES = 1.0 + 4.0 / 128
"""Per value dispatched to 8-bit experts: FP8 and a scale of 4 bytes for 128 values (DeepSeek-V3
report, section 3.3.3). Results come back in 16 bit."""
_NARROW = ("fp8", "fp8_block", "mxfp8")
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

    @property
    def dispatch_bytes(self) -> float:
        """Bytes per value that is sent to an expert."""
        if self.format.name == "nvfp4":  # dispatched as it is multiplied, TensorRT-LLM blog 3
            return self.format.bytes_per_element
        return NARROW_BYTES if self.format.name in _NARROW else ACTIVATION_BYTES


@dataclass(frozen=True, slots=True)
class Exchange:
    """A collective over `bytes_per_token` of a rank's tokens (all_to_all: what leaves a device)."""

    operation: Operation
    bytes_per_token: float
    scope: Scope
    routed: Routed | None = None
    """What is dispatched to, or combined from."""
    tokens_per_device: float = 1.0
    """Dispatch and combine: tokens that a device sends, of one that its rank has."""
    node_limit: int | None = None
    """Dispatch and combine: most scale-up domains that a token goes to."""


@dataclass(frozen=True, slots=True)
class LayerWork:
    """All work of one layer on one device, but for attention itself."""

    projections: tuple[Product, ...]
    """Into and out of attention."""
    products: tuple[Product, ...]
    """Of the feed-forward part."""
    passes: tuple[Pass, ...]
    """Norms."""
    ffn_passes: tuple[Pass, ...]
    """Of the feed-forward part."""
    routed: Routed | None
    exchanges: tuple[Exchange, ...]
    """Beside the feed-forward part and behind attention."""
    shared: tuple[Product, ...] = ()
    """Those of `products` that are shared experts."""


def layer_work(task: PriceTask, layer: Layer) -> LayerWork:
    """The work of `layer` under the task's layout and formats."""
    products, passes = _attention_side(task, layer)
    more, norms, further, routed = _ffn_side(task, layer)
    exchanges = _exchanges(task, layer, routed)
    shared = tuple(p for p in more if p.name in ("up", "down")) if routed else ()
    return LayerWork(products, more, passes + norms, further, routed, exchanges, shared)


def attention_works(task: PriceTask, layer: Layer) -> tuple[AttentionWork, ...]:
    """The kinds of attention work of a layer on one device."""
    a, kv_bytes = layer.attention, task.formats.kv.bits / 8
    return cost_of(a).work(a, task.spread.attention_tp, kv_bytes)


def _attention_side(task: PriceTask, layer: Layer) -> tuple[tuple[Product, ...], tuple[Pass, ...]]:
    hidden, spread, fmt = task.model.hidden, task.spread, task.formats.weights
    matrices = cost_of(layer.attention).matrices(layer.attention, hidden, spread.attention_tp)
    if not matrices:
        return (), ()
    cut = spread.output_parallel
    products = tuple(
        Product(name, inputs // (cut if name == "o" else 1), outputs, fmt)
        for name, (inputs, outputs) in matrices.items()
    )
    return products, (_norm(task),)


def _norm(task: PriceTask) -> Pass:
    """A norm, of a share of the tokens where devices divide them."""
    share = task.spread.attention_tp if task.spread.sequence_parallel else 1
    return Pass("norm", NORM_NUMBERS * task.model.hidden / share)


def _ffn_side(
    task: PriceTask, layer: Layer
) -> tuple[tuple[Product, ...], tuple[Pass, ...], tuple[Pass, ...], Routed | None]:
    """(products, norms, other passes, routed experts)"""
    hidden, spread, ffn = task.model.hidden, task.spread, layer.ffn
    fmt = task.formats.weights
    routed_experts = isinstance(ffn, MoeFfn)
    width = ffn.shared_width if isinstance(ffn, MoeFfn) else ffn.width
    products: list[Product] = []
    norms = (_norm(task),) if width or routed_experts else ()
    passes: list[Pass] = []
    if width:
        local = -(-width // spread.ffn_tp)
        products.append(Product("up", hidden, (1 + ffn.gated) * local, fmt))
        products.append(Product("down", local, hidden, fmt))
        passes.append(Pass("activation", (2 + ffn.gated) * local))
    if not isinstance(ffn, MoeFfn):
        return tuple(products), norms, tuple(passes), None
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
    return tuple(products), norms, tuple(passes), routed


def _exchanges(task: PriceTask, layer: Layer, routed: Routed | None) -> tuple[Exchange, ...]:
    """An all-reduce after attention and one after the feed-forward part; with lockstep ranks, a
    dispatch to the experts and a combine (each token to each device at most once)."""
    spread = task.spread
    attends = not isinstance(layer.attention, NoAttention)
    first = spread.sums_over_rank and (spread.kv_parallel == 1 or keeps_kv(layer))
    out = _sum(task, "rank" if first else "heads") if attends else ()
    if isinstance(layer.ffn, NoFfn) or spread.ffn_devices:
        return out
    if spread.ranks == 1 or routed is None:
        return (*out, *_sum(task, "rank" if spread.sums_over_rank else "heads"))
    there, back = _sent(routed, spread.expert_parallel, spread.attention_tp)
    more = (routed, 1.0 / spread.attention_tp, spread.node_limit)
    return (
        *out,
        Exchange("dispatch", there, "stage", *more),
        Exchange("combine", back, "stage", *more),
    )


def _sum(task: PriceTask, scope: Scope) -> tuple[Exchange, ...]:
    """The sum of all devices' outputs, on all of them; or each a share of it, and all of it again
    behind the norm (sequence parallelism)."""
    nbytes = task.model.hidden * ACTIVATION_BYTES
    if task.spread.sequence_parallel:
        return (
            Exchange("reduce_scatter", nbytes, scope),
            Exchange("all_gather", nbytes, scope),
        )
    return (Exchange("all_reduce", nbytes, scope),)


def _sent(routed: Routed, groups: int, share: int) -> tuple[float, float]:
    """(bytes there, bytes back) of a token, out of one of the `share` devices that have it: to
    every other one of `groups` that has one of its experts, drawn independently."""
    reached = (groups - 1) * (1.0 - (1.0 - 1.0 / groups) ** routed.ffn.top_k)
    there = routed.hidden * routed.dispatch_bytes
    return there * reached / share, routed.hidden * ACTIVATION_BYTES * reached / share


def partial_results(task: PriceTask, layer: Layer) -> Exchange | None:
    """What the groups that share a sequence's KV send each other after attention; None where they
    share none.

    Helix: an all-to-all over query heads, (n − 1)/n of the heads of every token to the devices that
    go on with them. Context parallelism: the same to the groups that the tokens belong to. Vanilla
    KV parallelism: all heads to every group.
    """
    n = task.spread.kv_parallel
    if n == 1 or not keeps_kv(layer):
        return None
    heads, width = layer.attention.q_heads / task.spread.attention_tp, output_width(layer)
    nbytes = heads * (width * ACTIVATION_BYTES + STATISTICS_BYTES)
    if task.spread.output_parallel == n or task.spread.token_parallel == n:
        return Exchange("all_to_all", nbytes * (n - 1) / n, "kv")
    return Exchange("all_gather", nbytes * n, "kv")


def output_width(layer: Layer) -> int:
    """Numbers per head of a partial result: a latent's is brought together before it is widened
    (TensorRT-LLM's Helix for latent attention)."""
    a = layer.attention
    return a.head_dim if isinstance(a, GroupedAttention) else _latent(layer).kv_lora


def query_bytes(task: PriceTask, layer: Layer) -> float:
    """Bytes of a token's queries on one device."""
    a = layer.attention
    heads = a.q_heads / task.spread.attention_tp
    if isinstance(a, GroupedAttention):
        return heads * a.head_dim * ACTIVATION_BYTES
    latent = _latent(layer)
    return heads * (latent.kv_lora + latent.rope_dim) * ACTIVATION_BYTES


def _latent(layer: Layer) -> LatentAttention:
    a = layer.attention
    if isinstance(a, SparseLatentAttention):
        return a.latent
    if not isinstance(a, LatentAttention):
        raise BrokenInvariant(f"{type(a).__name__} keeps no keys that could be shared")
    return a
