"""The kernels of a layer at fitted figures: `sim.perf.surfaces` found on a `Shelf`."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sim.catalog.formats import Format
from sim.catalog.gpu import Gpu
from sim.network.collectives import Collectives
from sim.perf.attentions import AttentionWork
from sim.perf.attentions.grouped import ACTIVATION_BYTES
from sim.perf.efficiency import efficiency_of
from sim.perf.fitted import Found, Shelf
from sim.perf.layer_work import Exchange, Routed
from sim.perf.mixed_attention import MixedAttention
from sim.perf.operators.dispatch import fitted_seconds
from sim.perf.packed_attention import UNPACKED, mixed_attention
from sim.perf.price_list import DecodeTables, PrefillTables
from sim.perf.routing import RankLoad, Routing
from sim.perf.spread import kv_heads_per_device
from sim.perf.surfaces.decode_attention import nearest_variant
from sim.perf.task import Formats
from sim.perf.variants import (
    MIN_LATENCY_TOKENS,
    block_variant,
    expert_variants,
    gemm_variant,
)

Array = NDArray[np.float64]

SELECTED_FROM = (16_384, 131_072)
"""Contexts between which the time of a top-k is taken as a straight line."""
GUESS_OVERLAP = 0.42
"""Overlap of successive top-k: 35 to 50 % in layers 20 to 60 (TensorRT-LLM blog 21)."""
DEQUANTISE_FLOPS = 2.0
"""Operations per weight and 128-row tile to widen a stored format, on the vector units. assumed: a
shift and a fused multiply-add (as in Marlin, arXiv 2408.11743, which hides them at small batch)."""
_TILE_ROWS = 128


LEVELS = 8
"""Equally likely levels of expert load: octiles of the slowest rank's."""


@dataclass(slots=True)
class FittedKernels:
    """Kernels of one GPU under one engine, for a model in given formats."""

    gpu: Gpu
    shelf: Shelf
    formats: Formats
    hidden: int
    """Width of the model."""
    routing: Routing
    pass_launch_s: float
    """Shortest elementwise kernel."""
    prompt_layer_s: float = 0.0
    """Seconds of host work per layer in the attention of prompts."""
    fused_quantisation: bool = True
    """Whether the kernel before a product writes its activations in the product's format."""
    level: int | None = None
    """Which level of expert load; None = the expected one."""

    def product_s(self, tokens: Array, inputs: int, outputs: int, fmt: Format) -> Array:
        """As the fitted product in the format in which it runs, and the widening of the weights
        where that is another than theirs."""
        runs, found = self._runs_in(fmt), self.gemm(fmt)
        stored = Format(runs.name, fmt.bits, runs.compute, fmt.source)
        out: Array = found.surface.seconds(
            self.gpu,
            stored,
            tokens,
            float(outputs),
            float(inputs),
            launches=False,
            quantises=not self.fused_quantisation,
        )
        if runs is not fmt:
            out = np.maximum(out, self._widen_s(tokens, float(inputs * outputs)))
        return np.where(tokens > 0, out, 0.0)

    def pass_s(self, tokens: Array, numbers: float) -> Array:
        """Traffic at the memory fraction of the architecture, at least a short kernel."""
        rate = self.gpu.hbm_bytes_per_s * efficiency_of(self.gpu).hbm
        moved = tokens * (numbers * ACTIVATION_BYTES / rate)
        return np.where(tokens > 0, np.maximum(moved, self.pass_launch_s), 0.0)

    def routed_s(self, tokens: Array, routed: Routed) -> Array:
        """The fused expert layer of the slowest device."""
        ffn, fmt = routed.ffn, routed.format
        found = self.experts(fmt, routed.parallel)
        load = self._load(tokens, routed)
        args = (
            self.gpu,
            fmt,
            load.choices,
            load.touched,
            load.largest,
            float(routed.hidden),
            float(routed.width),
            routed.local_experts,
            ffn.gated,
            load.tokens,
            float(ffn.top_k),
        )
        out: Array = found.surface.seconds(*args)
        quick = self.shelf.find("experts", f"{found.variant}_min_latency")
        if quick.fitted is not None and quick.gpu == found.gpu and quick.engine == found.engine:
            few = np.minimum(out, quick.surface.seconds(*args))
            out = np.where(tokens <= MIN_LATENCY_TOKENS, few, out)
        if found.variant == "bf16" and fmt.bits < 16:
            each = (2 + ffn.gated) * routed.hidden * routed.width
            out = np.maximum(out, self._widen_s(load.choices, load.touched * each))
        return np.where(tokens > 0, out, 0.0)

    def _widen_s(self, rows: Array, weights: Array | float) -> Array:
        """Widening of stored weights on the vector units, once for each tile of rows."""
        work = np.ceil(rows / _TILE_ROWS) * (DEQUANTISE_FLOPS * weights)
        out: Array = work / self.gpu.flops_per_s["fp32"]
        return out

    def _load(self, tokens: Array, routed: Routed) -> RankLoad:
        """Of the slowest rank: expected, or scaled to the level drawn."""
        ffn, ranks = routed.ffn, routed.parallel
        load = self.routing.slowest(tokens, ffn.experts, ffn.top_k, ranks)
        if self.level is None:
            return load
        ratio = self.routing.levels(tokens, ffn.experts, ffn.top_k, ranks, LEVELS)[self.level]
        choices = tokens * (ffn.top_k / ranks) * ratio
        scale = np.divide(choices, load.choices, out=np.ones_like(choices), where=load.choices > 0)
        most = np.minimum(choices, routed.local_experts)
        return RankLoad(
            choices=choices,
            touched=np.minimum(load.touched * scale, most),
            largest=np.minimum(load.largest * scale, choices),
            tokens=np.minimum(load.tokens * scale, choices),
        )

    def dispatch_s(self, tokens: Array, exchange: Exchange, among: Collectives) -> Array:
        """By the libraries of expert parallelism where they were measured, else an all-to-all."""
        return fitted_seconds(self.shelf, tokens, exchange, among)

    def gemm(self, fmt: Format) -> Found:
        """The surface of products with weights in `fmt`."""
        runs = self._runs_in(fmt)
        return self.shelf.find("gemm", gemm_variant(runs), "bf16")

    def experts(self, fmt: Format, parallel: int = 1) -> Found:
        """The surface of expert layers with weights in `fmt`, over `parallel` groups."""
        activations, architecture = self.formats.activations, self.gpu.architecture
        engine = self.shelf.engines[0]
        variants = expert_variants(fmt, activations, architecture, engine, parallel)
        return self.shelf.find("experts", *variants)

    def decode(self, work: AttentionWork, batch: Array) -> DecodeTables:
        """Measured kinds by their surfaces, any other as a stream of arithmetic and bytes."""
        if work.phase == "prefill":
            return DecodeTables.line(*(0.0 * batch,) * 3)
        some = np.where(batch > 0, 1.0, 0.0)
        if work.kernel == "grouped":
            surface = self.attention("decode_attention", work).surface
            made = surface.coefficients(
                self.gpu, **self._heads(work), batch=batch, windowed=work.windowed
            )
            return DecodeTables(*(some * t for t in made))
        if work.kernel == "top_k":
            return self._select(batch)
        if work.kernel in ("latent", "sparse_latent"):
            surface = self.attention("latent_decode", work).surface
            a: Any = work.attention
            made = surface.coefficients(
                self.gpu,
                a.q_heads // work.tp,
                batch,
                kv_bits=self.formats.kv.bits,
                kv_lora=a.kv_lora,
                rope=a.rope_dim,
            )
            return DecodeTables.line(*(some * t for t in made))
        return self._stream_decode(work, batch)

    def prefill(self, work: AttentionWork, tokens: Array) -> PrefillTables:
        """As `decode`, and what the host does in between."""
        if work.phase == "decode":
            return PrefillTables(*(0.0 * tokens,) * 5)
        made = self._prefill(work, tokens)
        if not self.prompt_layer_s:
            return made
        waits = np.where(tokens > 0, self.prompt_layer_s, 0.0)
        return replace(made, base=made.base + waits)

    def _prefill(self, work: AttentionWork, tokens: Array) -> PrefillTables:
        some = np.where(tokens > 0, 1.0, 0.0)
        if work.kernel == "grouped":
            surface = self.attention("prefill_attention", work).surface
            base, pair, key, chunk, beyond = surface.coefficients(
                self.gpu,
                **self._heads(work),
                tokens=tokens,
                windowed=work.windowed,
            )
            none = 0.0 * tokens
            return PrefillTables(
                some * base, some * pair, none, some * key, some * beyond, float(chunk)
            )
        if work.kernel == "latent":
            surface = self.attention("latent_prefill", work).surface
            a: Any = work.attention
            floor, base, pair, key, cached, chunk = surface.coefficients(
                self.gpu,
                a.q_heads // work.tp,
                tokens,
                kv_bits=self.formats.kv.bits,
                kv_lora=a.kv_lora,
                nope=a.nope_dim,
                rope=a.rope_dim,
                v=a.v_dim,
            )
            return PrefillTables(
                some * base,
                some * pair,
                some * cached,
                some * key,
                0.0 * tokens,
                float(chunk),
                float(floor),
            )
        if work.kernel == "top_k":
            rows = np.maximum(tokens, 1.0)
            base, key = self._selection(rows)
            none = 0.0 * tokens
            return PrefillTables(some * base, some * key, none, none, none)
        return self._stream_prefill(work, tokens)

    def _select(self, batch: Array) -> DecodeTables:
        """The top-k of every sequence, as a line through its times at two contexts: radix, and on
        Blackwell guess-verify-refine where that is quicker (TensorRT-LLM blog 21)."""
        some, rows = np.where(batch > 0, 1.0, 0.0), np.maximum(batch, 1.0)
        base, key = (some * t for t in self._selection(rows))
        least = some * self.pass_launch_s
        if self.gpu.architecture != "blackwell":
            return DecodeTables.line(least, base, key)
        guessed = (some * t for t in self._selection(rows, guess=GUESS_OVERLAP))
        return DecodeTables(least, base, key, *guessed)

    def _selection(self, rows: Array, guess: float | None = None) -> tuple[Array, Array]:
        """(seconds, seconds per score) of a selection over `rows` rows of scores, by radix or from
        a guess that overlaps so far."""
        surface, gpu = self.shelf.find("top_k", "radix").surface, self.gpu
        short, long = (
            surface.radix_seconds(gpu, rows, float(n))
            if guess is None
            else surface.gvr_seconds(gpu, rows, float(n), guess)
            for n in SELECTED_FROM
        )
        slope = (long - short) / (SELECTED_FROM[1] - SELECTED_FROM[0])
        base: Array = np.maximum(short - SELECTED_FROM[0] * slope, 0.0)
        return base, slope / rows

    def mixed(self, work: AttentionWork, sequences: int, tokens: int) -> MixedAttention | None:
        """Where decodes and prompts share a kernel that does not pack the heads of decodes."""
        packs = self.gpu.architecture not in UNPACKED or work.kernel != "grouped"
        own = self.shelf.engines[0].startswith("trtllm")  # kernels of its own
        if packs or own or work.phase != "both":
            return None
        surface = self.attention("decode_attention", work).surface
        return mixed_attention(surface, self.gpu, self._heads(work), sequences, tokens)

    def block_s(self, work: AttentionWork, tokens: Array, decode: bool) -> Array | None:
        """What stands around latent attention, where it was measured as one block."""
        if work.kernel != "latent":
            return None
        fmt = self._runs_in(self.formats.weights)
        phase = "decode" if decode else "prefill"
        name = block_variant(fmt)
        found = self.shelf.find("latent_block", f"{phase} {name}", f"{phase} bf16")
        if found.fitted is None:
            return None
        a: Any = work.attention
        out: Array = found.surface.seconds(
            self.gpu,
            a.q_heads // work.tp,
            tokens,
            weights=fmt.name,
            decode=decode,
            hidden=self.hidden,
            q_lora=a.q_lora or 0,
            kv_lora=a.kv_lora,
            nope=a.nope_dim,
            rope=a.rope_dim,
            v=a.v_dim,
        )
        return np.where(tokens > 0, out, 0.0)

    def attention(self, kind: str, work: AttentionWork) -> Found:
        """The surface of one kind of attention in the variant nearest to the formats."""
        cache = self.formats.kv.name
        if kind.startswith("latent"):
            return self.shelf.find(kind, f"bf16/{cache}", "bf16/bf16")
        a: Any = work.attention
        near = nearest_variant(self.shelf.variants(kind), "bf16", cache, a.head_dim)
        return self.shelf.find(kind, near or f"bf16/{cache}/{a.head_dim}")

    def _heads(self, work: AttentionWork) -> dict[str, float]:
        a: Any = work.attention
        return {
            "q_heads": a.q_heads / work.tp,
            "kv_heads": float(kv_heads_per_device(a, work.tp)),
            "head_dim": float(a.head_dim),
            "kv_bytes": self.formats.kv.bits / 8,
        }

    def _runs_in(self, fmt: Format) -> Format:
        return self.formats.runs_in(self.gpu, fmt)

    def _rates(self, work: AttentionWork) -> tuple[float, float, float]:
        """(prefill FLOP/s, product FLOP/s, bytes/s) of kernels that nobody measured."""
        eff, peaks = efficiency_of(self.gpu), self.gpu.flops_per_s
        peak = peaks.get(work.compute, peaks["bf16"])
        read = self.gpu.hbm_bytes_per_s * eff.attention_hbm
        return peak * eff.attention_tensor, peak * eff.tensor["bf16"], read

    def _stream_decode(self, work: AttentionWork, batch: Array) -> DecodeTables:
        _, product, read = self._rates(work)
        key = max(work.flops_per_context / product, work.bytes_per_context / read)
        some = np.where(batch > 0, 1.0, 0.0)
        base = batch * (work.bytes_per_sequence / read) + self.pass_launch_s
        return DecodeTables.line(0.0 * batch, some * base, some * key)

    def _stream_prefill(self, work: AttentionWork, tokens: Array) -> PrefillTables:
        score, product, read = self._rates(work)
        some = np.where(tokens > 0, 1.0, 0.0)
        launch = self.pass_launch_s
        return PrefillTables(
            base=some * launch + tokens * (work.flops_per_token / product),
            pair=some * (work.flops_per_pair / score),
            cached=some * (work.flops_per_cached_key / product),
            key=some * (work.bytes_per_key / read),
            beyond=0.0 * tokens,
        )
