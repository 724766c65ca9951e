"""What the fits of latent attention share: shapes of rows, starting figures, least squares."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.optimize import least_squares

from sim.catalog.gpu import Gpu
from sim.fidelity.fits import Array
from sim.perf.surfaces.latent_decode import LatentDecode
from sim.perf.surfaces.latent_prefill import LatentPrefill

Mask = NDArray[np.bool_]
Bounds = Mapping[str, tuple[float, float]]

FORMATS = {"bfloat16": "bf16", "float16": "fp16", "fp8": "fp8"}
WEIGHTS = {"bfloat16": "bf16", "fp8_block": "fp8", "nvfp4": "nvfp4"}
"""Weight types of the module tables → the format that stands for them: the scales of `fp8_block`,
one per 128 × 128 weights, are under a thousandth of the bytes."""
KV_BITS = {"bf16": 16.0, "fp16": 16.0, "fp8": 8.0}

_HOST_S = 40e-6
"""No kernel is this slow on one token: a table whose shortest row is, was measured with the host's
launches in it."""
_SHORT_S = 20e-6
"""Errors are quoted on longer rows; shorter ones count half."""
_HELD_BATCH = (16, 256)

TIMES = (0.0, 1e-3)
KEY_BOUNDS: Bounds = {
    "memory": (0.2, 0.97),
    "compute": (0.02, 0.95),
    "narrow": (0.02, 0.95),
    "sole": (0.0, 20.0),
}
DECODE_BOUNDS: Bounds = {
    **KEY_BOUNDS,
    "base_s": TIMES,
    "base_start_s": TIMES,
    "base_tile_s": TIMES,
    "base_row_s": TIMES,
}
PREFILL_BOUNDS: Bounds = {"compute": (0.05, 0.95), "serial_s": TIMES, "block_s": TIMES}


@dataclass(frozen=True, slots=True)
class Rows:
    """Rows of one number-format variant of a kernel or module table, as arrays."""

    heads: Array
    batch: Array
    tokens: Array
    """New tokens of one sequence; 1 in decode."""
    context: Array
    """Keys of one sequence, decode only."""
    measured_s: Array

    def prefill(self, surface: LatentPrefill, gpu: Gpu, kv_bits: float) -> Array:
        """Seconds of the kernel over whole prompts without a cached prefix."""
        n, s = self.batch, self.tokens
        pairs = n * s * (s + 1) / 2
        seconds = surface.seconds(gpu, self.heads, n * s, n, pairs, n * s, kv_bits=kv_bits)
        return np.maximum(seconds, surface.host_s)

    def decode(self, surface: LatentDecode, gpu: Gpu, kv_bits: float) -> Array:
        """Seconds of the kernel over a batch of equal contexts."""
        context = self.batch * self.context
        seconds = surface.seconds(gpu, self.heads, self.batch, context, kv_bits=kv_bits)
        return np.maximum(seconds, surface.host_s)


def rows_of(table: pd.DataFrame, ahead: int) -> Rows:
    """Columns as arrays; context = step + `ahead` (1 in kernel tables, 0 in module tables)."""
    column = {
        c: table[c].to_numpy(dtype=np.float64)
        for c in ("num_heads", "batch_size", "isl", "step", "latency")
    }
    return Rows(
        heads=column["num_heads"],
        batch=column["batch_size"],
        tokens=column["isl"],
        context=column["step"] + ahead,
        measured_s=column["latency"] / 1e3,
    )


def named(table: pd.DataFrame) -> pd.DataFrame:
    """The table with `variant` (`bf16/fp8`: format of the model's values / of the cache)."""
    dtype, kv = table["mla_dtype"].map(FORMATS), table["kv_cache_dtype"].map(FORMATS)
    return table.assign(variant=dtype + "/" + kv)


def averaged(table: pd.DataFrame) -> pd.DataFrame:
    """One row a shape: repeated measurements become their mean."""
    shape = [c for c in table.columns if c not in ("latency", "tp_size", "kernel_source")]
    mean: pd.DataFrame = table.groupby(shape)[["latency"]].mean().reset_index()
    return mean


def kv_bits(variant: str) -> float:
    """Bits of one element of the cache."""
    return KV_BITS[variant.split("/")[1]]


def held_out(rows: Rows) -> Mask:
    """Rows kept from the fit: every third head count and two batch sizes, whole."""
    heads = np.unique(rows.heads)[2::2]
    held: Mask = np.isin(rows.heads, heads) | np.isin(rows.batch, _HELD_BATCH)
    return held


def select(rows: Rows, mask: Mask) -> Rows:
    """The rows where `mask` is true."""
    return Rows(
        rows.heads[mask],
        rows.batch[mask],
        rows.tokens[mask],
        rows.context[mask],
        rows.measured_s[mask],
    )


def host_bound_s(rows: Rows) -> float:
    """Seconds of host launches in a table that was measured with them; else 0."""
    shortest = float(rows.measured_s.min())
    return float(np.median(np.sort(rows.measured_s)[: len(rows.measured_s) // 5])) * (
        shortest > _HOST_S
    )


def quoted(rows: Rows) -> Mask:
    """Rows long enough to quote errors on."""
    long: Mask = rows.measured_s > _SHORT_S
    return long


def reach_of(rows: Rows) -> dict[str, tuple[float, float]]:
    """Smallest and largest shape that was measured."""
    columns = {"heads": rows.heads, "batch": rows.batch, "isl": rows.tokens}
    if rows.context.max() > 1:
        columns["context"] = rows.context
    return {k: (float(v.min()), float(v.max())) for k, v in columns.items()}


def decode_start(gpu: Gpu, variant: str) -> LatentDecode:
    """Where the fit of a kernel starts; what a GPU without a table gets.

    Tiles: module docstring of the surface; times of an empty kernel typical of TensorRT-LLM's.
    """
    if gpu.architecture == "ampere":
        return LatentDecode(
            narrow=0.105, compute=0.105, tile=16, narrow_tile=16, splits=4, floor_s=15e-6,
            base_s=60e-6, start_s=10e-6, base_start_s=60e-6, base_tile_s=20e-6, base_row_s=1e-6,
        )  # fmt: skip
    if gpu.architecture == "blackwell":
        return LatentDecode(
            multiplies="fp8" if variant.endswith("/fp8") else "bf16", memory=0.8, narrow=0.11,
            narrow_tile=16, sole=2.5, floor_s=9.5e-6, start_s=8.5e-6, tile_s=4.5e-6,
            head_s=0.05e-6, base_start_s=10e-6, base_tile_s=0.4e-6,
        )  # fmt: skip
    return LatentDecode(
        memory=0.92, compute=0.7, narrow=0.7, floor_s=13.2e-6, start_s=7.5e-6, tile_s=6.5e-6,
        head_s=0.15e-6, base_s=13.4e-6, base_start_s=8e-6, base_tile_s=2.7e-6, base_row_s=0.2e-6,
    )  # fmt: skip


def prefill_start(gpu: Gpu, variant: str, engine_converts: bool) -> LatentPrefill:
    """Where the fit of a kernel starts; what a GPU without a table gets.

    With `engine_converts` (TensorRT-LLM) an fp8 cache makes the kernel convert and multiply fp8.
    """
    values, cache = variant.split("/")
    fp8 = "fp8" in gpu.flops_per_s and "fp8" in (values, cache if engine_converts else values)
    blackwell = gpu.architecture == "blackwell"
    return LatentPrefill(
        multiplies="fp8" if fp8 else "bf16",
        compute=0.4 if fp8 else 0.6,
        touches=2.0 if fp8 else 0.9,
        floor_s=15e-6,
        start_s=16e-6 if blackwell else 13.5e-6,
        serial_s=22e-9 if blackwell else 30e-9,
    )


def solve(
    starts: Sequence[Any],
    free: Sequence[Bounds],
    predict: Callable[[list[Any]], Array],
    measured: Array,
    prior: float = 0.01,
) -> list[Any]:
    """The surfaces with their free figures fitted: log ratios, soft L1, deterministic.

    A weak `prior` holds figures that the rows do not tell apart near their start.
    """
    names = [(i, name) for i, bounds in enumerate(free) for name in bounds]
    start = np.array([max(float(getattr(starts[i], n)), 1e-8) for i, n in names])
    low = np.array([free[i][n][0] for i, n in names])
    high = np.array([free[i][n][1] for i, n in names])
    start = np.clip(start, np.maximum(low, 1e-8) * 1.001, high * 0.999)
    weight = np.where(measured > _SHORT_S, 1.0, 0.5)
    pull = prior * np.sqrt(len(measured))

    def made(x: Array) -> list[Any]:
        figures: list[dict[str, float]] = [{} for _ in starts]
        for (i, name), value in zip(names, x * start, strict=True):
            figures[i][name] = float(value)
        return [replace(s, **f) for s, f in zip(starts, figures, strict=True)]

    def error(x: Array) -> Array:
        ratio = weight * np.log(predict(made(x)) / measured)
        return np.concatenate([ratio, pull * (x - 1.0)])

    found = least_squares(
        error,
        np.ones(len(start)),
        bounds=(low / start, high / start),
        loss="soft_l1",
        f_scale=0.1,
        max_nfev=40,
    )
    return made(found.x)
