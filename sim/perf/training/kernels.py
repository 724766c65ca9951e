"""Seconds of a trainer's kernels: the surfaces of serving, asked for forward and backward shapes.

Matrix products of the backward pass are products of other shapes: (tokens × out)·(out × in) for
inputs' gradients, (in × tokens)·(tokens × out) for weights'. FlashAttention's backward pass does
2.5 times the operations of its forward pass (arXiv 2307.08691, section 3.1.2 and its benchmarks).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from sim.catalog.formats import Format, load_format
from sim.catalog.gpu import Gpu
from sim.catalog.model import GroupedAttention, LatentAttention, Layer
from sim.perf.attentions import cost_of
from sim.perf.efficiency import LAUNCH_S, efficiency_of
from sim.perf.fitted import Shelf
from sim.perf.fitted_kernels import FittedKernels
from sim.perf.layer_work import Routed
from sim.perf.routing import Routing, Uniform
from sim.perf.surfaces.decode_attention import nearest_variant
from sim.perf.surfaces.prefill_attention import PrefillAttention
from sim.perf.task import Formats

Array = NDArray[np.float64]
Product = tuple[float, float, float]
"""Rows, columns and depth of a matrix product."""
Core = tuple[float, float, float, float]
"""Query heads, key heads, their width and tokens of an attention core."""

EXPERT_TOKENS = 2.0 ** np.arange(0.0, 24.25, 0.25)
"""Token counts at which experts are priced; linear between (routing laws need milliseconds)."""
KEPT = 500_000
"""Products whose prices are remembered."""
FLASH_BACKWARD = 2.5
"""Operations of FlashAttention's backward pass over those of its forward pass: five products of
queries by keys' shape for two."""


@dataclass(slots=True)
class TrainingKernels:
    """Kernels of one GPU in 16 bit, found on a shelf of calibrations."""

    gpu: Gpu
    shelf: Shelf
    hidden: int
    routing: Routing = field(default_factory=Uniform)
    """How tokens spread over experts."""
    _products: dict[Product, float] = field(default_factory=dict)
    _cores: dict[Core, tuple[float, float]] = field(default_factory=dict)
    _experts: dict[Routed, Array] = field(default_factory=dict)

    @property
    def format(self) -> Format:
        """Operands of products: bf16 (fp16 runs at the same rate)."""
        return load_format("bf16")

    @property
    def hbm_bytes_per_s(self) -> float:
        """Achieved memory bandwidth of elementwise passes."""
        return self.gpu.hbm_bytes_per_s * efficiency_of(self.gpu).hbm

    def know(self, products: Iterable[Product]) -> None:
        """Price products all at once, those not known yet."""
        if len(self._products) > KEPT:
            self._products.clear()
        new = sorted({p for p in products if p not in self._products and min(p) > 0})
        if not new:
            return
        m, n, k = np.array(new, dtype=float).T
        surface = self.shelf.find("gemm", "bf16").surface
        seconds = surface.seconds(self.gpu, self.format, m, n, k, launches=False, quantises=False)
        self._products.update(zip(new, map(float, seconds), strict=True))

    def product_s(self, product: Product) -> float:
        """Seconds of one product; 0 of an empty one."""
        if min(product) <= 0:
            return 0.0
        if product not in self._products:
            self.know([product])
        return self._products[product]

    def pass_s(self, nbytes: float) -> float:
        """An elementwise kernel, or several in one row that move `nbytes` in all."""
        return max(nbytes / self.hbm_bytes_per_s, LAUNCH_S) if nbytes else 0.0

    def attention_s(self, layer: Layer, tp: int, tokens: float, pairs: float) -> float:
        """Forward pass of causal attention in one kernel, `pairs` of them seen.

        Latent attention trains with keys and values rebuilt per head: as many heads of keys as of
        queries, and a head as wide as the mean of key and value, which gives the same operations.
        """
        core = attention_core(layer, tp, tokens)
        if core is None:
            return self._recurrent_s(layer, tp, tokens)
        if core not in self._cores:
            self.know_cores([core])
        base, pair = self._cores[core]
        return base + pairs * pair

    def know_cores(self, cores: Iterable[Core]) -> None:
        """Price attention cores all at once, those not known yet, by width of heads."""
        new = sorted({c for c in cores if c not in self._cores and c[3] > 0})
        for dim in sorted({c[2] for c in new}):
            mine = [c for c in new if c[2] == dim]
            heads, keys, _, tokens = np.array(mine, dtype=float).T
            base, pair, _, _, _ = self._flash(round(dim)).coefficients(
                self.gpu, q_heads=heads, kv_heads=keys, head_dim=dim, kv_bytes=2.0, tokens=tokens
            )
            priced = zip(map(float, base), map(float, pair), strict=True)
            self._cores.update(zip(mine, priced, strict=True))

    def _flash(self, head_dim: int) -> PrefillAttention:
        near = nearest_variant(self.shelf.variants("prefill_attention"), "bf16", "bf16", head_dim)
        surface: PrefillAttention = self.shelf.find(
            "prefill_attention", near or f"bf16/bf16/{head_dim}"
        ).surface
        return surface

    def _recurrent_s(self, layer: Layer, tp: int, tokens: float) -> float:
        """A state's update over all tokens: arithmetic at the architecture's fraction."""
        a = layer.attention
        rate = self.gpu.flops_per_s["bf16"] * efficiency_of(self.gpu).tensor["bf16"]
        return sum(tokens * w.flops_per_token / rate for w in cost_of(a).work(a, tp, 2.0))

    def experts_s(self, tokens: float, routed: Routed) -> float:
        """Forward pass of the routed experts on the slowest device; `tokens` of all devices that
        share them."""
        if routed not in self._experts:
            formats = Formats(self.format, self.format, self.format)
            kernels = FittedKernels(
                self.gpu, self.shelf, formats, self.hidden, self.routing, pass_launch_s=LAUNCH_S
            )
            self._experts[routed] = kernels.routed_s(EXPERT_TOKENS, routed)
        return float(np.interp(tokens, EXPERT_TOKENS, self._experts[routed]))


def attention_core(layer: Layer, tp: int, tokens: float) -> Core | None:
    """What a layer's attention asks of one device; None where it is a state or nothing."""
    a = layer.attention
    if isinstance(a, GroupedAttention):
        return a.q_heads / tp, max(1.0, a.kv_heads / tp), float(a.head_dim), tokens
    if isinstance(a, LatentAttention):
        width = (a.nope_dim + a.rope_dim + a.v_dim) / 2
        return a.q_heads / tp, a.q_heads / tp, width, tokens
    return None
