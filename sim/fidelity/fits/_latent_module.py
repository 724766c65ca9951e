"""Whole blocks of latent attention: kernel + projections, for prefill and decode tables alike.

A module table times the sum only. Kernels (one per format of values / cache) and blocks (one per
weight type) are fitted together; figures that the sum cannot tell apart, an empty kernel's time and
what a kernel takes per token, stay at those typical of the architecture.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from sim.catalog.gpu import Gpu
from sim.fidelity.fits import Array, Prediction, residual
from sim.fidelity.fits import _latent as latent
from sim.perf.calibration import Calibration, Fitted
from sim.perf.surfaces.latent_block import LatentBlock

BLOCK = "latent_block"

_FREE: latent.Bounds = {
    "memory": (0.2, 0.97),
    "compute": (0.1, 0.9),
    "start_s": latent.TIMES,
    "touches": (0.0, 20.0),
    "head_touches": (0.0, 20.0),
}
_TRTLLM = "default"
"""`kernel_source` of TensorRT-LLM, whose kernels have tables of their own."""


@dataclass(frozen=True, slots=True)
class Phase:
    """Prefill or decode: which kernel, and what of it may be fitted."""

    kind: str
    """The kernel's surface, `latent_prefill` or `latent_decode`."""
    prefix: str
    """Of the block's variants: `prefill fp8_block`."""
    free: latent.Bounds
    rates: latent.Bounds
    """The same where the kernel has a table of its own, which knows its fixed times better."""

    @property
    def decode(self) -> bool:
        """Whether a row is one decode step."""
        return self.kind == "latent_decode"

    def start(self, gpu: Gpu, variant: str, trtllm: bool) -> Any:
        """The kernel's figures that are typical of the architecture."""
        if self.decode:
            return latent.decode_start(gpu, variant)
        return latent.prefill_start(gpu, variant, trtllm)

    def block(self, weights: str) -> str:
        """The block's variant for a weight type of the tables."""
        return f"{self.prefix} {latent.FORMATS.get(weights, weights)}"

    def block_free(self) -> latent.Bounds:
        """What of the block may be fitted."""
        return {**_FREE, "absorbed": (0.05, 0.9)} if self.decode else _FREE

    def kernel_s(self, surface: Any, rows: latent.Rows, gpu: Gpu, variant: str) -> Array:
        """Seconds of the attention kernel."""
        bits = latent.kv_bits(variant)
        if self.decode:
            return rows.decode(surface, gpu, bits)
        return rows.prefill(surface, gpu, bits)

    def block_s(self, surface: LatentBlock, rows: latent.Rows, gpu: Gpu, weights: str) -> Array:
        """Seconds of what stands around it."""
        tokens, fmt = rows.batch * rows.tokens, latent.WEIGHTS[weights]
        return surface.seconds(gpu, rows.heads, tokens, weights=fmt, decode=self.decode)


@dataclass(frozen=True, slots=True)
class _Part:
    """The rows of one kernel variant with one weight type."""

    variant: str
    weights: str
    rows: latent.Rows


def fit(table: pd.DataFrame, gpu: Gpu, phase: Phase, holdout: bool) -> dict[str, dict[str, Fitted]]:
    """Blocks, and kernels where the engine has no table of them."""
    whole = latent.averaged(latent.named(table))
    trtllm = bool((table["kernel_source"] == _TRTLLM).all())
    parts = [
        _Part(str(variant), str(weights), latent.rows_of(part, 0))
        for (variant, weights), part in whole.groupby(["variant", "gemm_type"])
    ]
    held = [latent.held_out(p.rows) & holdout for p in parts]
    seen = [replace(p, rows=latent.select(p.rows, ~h)) for p, h in zip(parts, held, strict=True)]
    kernels, blocks = _solve(seen, gpu, phase, trtllm)
    unseen = [
        replace(p, rows=latent.select(p.rows, h & latent.quoted(p.rows)))
        for p, h in zip(parts, held, strict=True)
    ]
    predicted = [_seconds(p, kernels, blocks, gpu, phase) for p in unseen]
    out: dict[str, dict[str, Fitted]] = {BLOCK: {}}
    for weights, block in blocks.items():
        mine = [p.weights == weights for p in parts]
        out[BLOCK][phase.block(weights)] = _fitted(block, parts, unseen, predicted, mine, holdout)
    if not trtllm:
        out[phase.kind] = {}
        for variant, kernel in kernels.items():
            mine = [p.variant == variant for p in parts]
            out[phase.kind][variant] = _fitted(kernel, parts, unseen, predicted, mine, holdout)
    return out


def predict(
    table: pd.DataFrame, gpu: Gpu, phase: Phase, calibration: Calibration | None
) -> Prediction:
    """Kernel + block of every row; without figures, those typical of the architecture."""
    frame = latent.named(table)
    trtllm = bool((table["kernel_source"] == _TRTLLM).all())
    seconds = np.full(len(table), np.nan)
    kinds = frame[["variant", "gemm_type"]].drop_duplicates()
    for variant, weights in zip(kinds["variant"], kinds["gemm_type"], strict=True):
        mine = ((frame["variant"] == variant) & (frame["gemm_type"] == weights)).to_numpy()
        kernel = calibration.find(phase.kind, variant) if calibration else None
        block = calibration.find(BLOCK, phase.block(weights)) if calibration else None
        part = _Part(variant, weights, latent.rows_of(table[mine], 0))
        seconds[mine] = _seconds(
            part,
            {variant: kernel.surface if kernel else phase.start(gpu, variant, trtllm)},
            {weights: block.surface if block else LatentBlock()},
            gpu,
            phase,
        )
    group = f"latent block {phase.prefix} " + frame["gemm_type"] + " " + frame["variant"]
    return Prediction(seconds, group, pd.Series("", index=table.index, dtype=str))


def _solve(
    parts: list[_Part], gpu: Gpu, phase: Phase, trtllm: bool
) -> tuple[dict[str, Any], dict[str, LatentBlock]]:
    variants = sorted({p.variant for p in parts})
    weights = sorted({p.weights for p in parts})
    starts = [phase.start(gpu, v, trtllm) for v in variants] + [LatentBlock() for _ in weights]
    kernel = phase.rates if trtllm else phase.free
    free = [kernel] * len(variants) + [phase.block_free()] * len(weights)

    def split(surfaces: list[Any]) -> tuple[dict[str, Any], dict[str, LatentBlock]]:
        kernels = dict(zip(variants, surfaces[: len(variants)], strict=True))
        return kernels, dict(zip(weights, surfaces[len(variants) :], strict=True))

    def seconds(surfaces: list[Any]) -> Array:
        kernels, blocks = split(surfaces)
        return np.concatenate([_seconds(p, kernels, blocks, gpu, phase) for p in parts])

    measured = np.concatenate([p.rows.measured_s for p in parts])
    return split(latent.solve(starts, free, seconds, measured))


def _seconds(
    part: _Part, kernels: dict[str, Any], blocks: dict[str, LatentBlock], gpu: Gpu, phase: Phase
) -> Array:
    kernel = phase.kernel_s(kernels[part.variant], part.rows, gpu, part.variant)
    return kernel + phase.block_s(blocks[part.weights], part.rows, gpu, part.weights)


def _fitted(
    surface: Any,
    parts: list[_Part],
    unseen: list[_Part],
    predicted: list[Array],
    mine: list[bool],
    holdout: bool,
) -> Fitted:
    """A surface with the reach and the held-out error of the parts that are its own."""
    reaches = [latent.reach_of(p.rows) for p, own in zip(parts, mine, strict=True) if own]
    reach = {k: (min(r[k][0] for r in reaches), max(r[k][1] for r in reaches)) for k in reaches[0]}
    if not holdout:
        return Fitted(surface, reach)
    pairs = [(p, u) for p, u, own in zip(predicted, unseen, mine, strict=True) if own]
    error = residual(
        np.concatenate([p for p, _ in pairs]),
        np.concatenate([u.rows.measured_s for _, u in pairs]),
    )
    return Fitted(surface, reach, error)
