"""Fits the expert layer to `moe.csv.gz`: one surface per number format and kernel.

Some series of the tables (all token counts of one shape under one split) were taken with kernels
that had not been tuned and are 4 to 5 times slower: one in six of TensorRT-LLM's bf16 and fp8
series on H100 and H200. Neighbouring shapes do not share it, so no figure can tell them; the loss
(Cauchy) leaves them aside in fitting, the residual counts them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.optimize import least_squares

from sim.catalog.formats import Format, load_format
from sim.catalog.gpu import Gpu
from sim.fidelity.fits import Prediction, residual
from sim.fidelity.fits._moe_routing import workloads
from sim.perf.calibration import Calibration, Fitted
from sim.perf.surfaces.experts import Experts
from sim.rng import Draws

Array = NDArray[np.float64]

_KIND = "experts"
_FORMATS = {
    "bfloat16": ("bf16", "bf16", ""),
    "bf16": ("bf16", "bf16", ""),
    "fp8": ("fp8", "fp8", ""),
    "fp8_block": ("fp8_block", "fp8", ""),
    "nvfp4": ("nvfp4", "nvfp4", ""),
    "w4a16_mxfp4": ("w4a16_mxfp4", "mxfp4", "bf16"),
    "w4a8_mxfp4_mxfp8": ("w4a8_mxfp4_mxfp8", "mxfp4", "fp8"),
    "int4_wo": ("int4_wo", "int4", "bf16"),
}
"""The table's `moe_dtype` → variant, format of the weights, key of the peak ('' = the format's)."""

_COLUMNS = (
    "num_tokens", "hidden_size", "inter_size", "topk", "num_experts", "moe_tp_size", "moe_ep_size",
)  # fmt: skip
_SHOWN_S = 20e-6
"""Residuals are over rows above this; below, launch noise rules (the data's README)."""

_BOUNDS: dict[str, tuple[float, float, float]] = {
    "floor_s": (20e-6, 3e-6, 150e-6),
    "local_expert_s": (0.05e-6, 1e-9, 2e-6),
    "touched_expert_s": (0.01e-6, 1e-9, 20e-6),
    "bandwidth": (0.85, 0.03, 1.1),
    "flops": (0.7, 0.05, 1.1),
    "tile_rows": (32.0, 1.0, 256.0),
    "tile_columns": (128.0, 32.0, 256.0),
    "overlap": (0.2, 0.02, 1.0),
    "blocks_per_sm": (0.5, 0.02, 4.0),
    "group_rows": (4096.0, 64.0, 1e6),
    "l2_share": (0.5, 0.1, 2.0),
    "hidden_passes": (4.0, 0.05, 30.0),
    "width_passes": (3.0, 0.05, 30.0),
    "token_passes": (1.0, 0.05, 40.0),
    "pair_hidden_passes": (0.2, 0.01, 20.0),
    "pair_width_passes": (0.2, 0.01, 20.0),
}
"""Figure → start, lower and upper bound of the search, which is over logarithms."""
_NAMES = tuple(_BOUNDS)
_START, _LOW, _HIGH = (np.log([b[i] for b in _BOUNDS.values()]) for i in range(3))
_BANDWIDTHS, _GROUP_ROWS = (0.85, 0.4, 0.2), (4096.0, 128.0)
"""Where searches start: the misfit is flat in these where they do not matter yet."""
_PRIOR = 0.005
"""Weight per row of a pull to the start: figures that no row speaks of stay where they were."""
_CORRECTION_PRIOR = 0.03
_ROWS = (1.0, 4.0, 16.0, 64.0, 256.0, 1024.0, 4096.0)
_FITTED_ROWS = 2000
_FOLDS = 3
_STEP = 1e-3
"""Relative step of derivatives: wide enough to see past the whole numbers of tiles and strips."""


class Moe:
    """Expert layers of one GPU under one engine."""

    def fit(
        self, table: pd.DataFrame, gpu: Gpu, *, holdout: bool = True
    ) -> dict[str, dict[str, Fitted]]:
        """One surface per variant. With `holdout`, whole models are left out in turn (every third);
        the residual is over all of them, the figures are those of the first turn."""
        rows = _prepared(table)
        out = {}
        for variant, part in rows.groupby("variant"):
            fmt, compute = _format(part)
            if not _runs(gpu, fmt, compute):
                continue
            if holdout:
                fitted = _held_out(part, gpu, fmt, compute)
            else:
                fitted = Fitted(_fit(part, gpu, fmt, compute))
            out[str(variant)] = replace(fitted, reach=_reach(part))
        return {_KIND: out}

    def predict(self, table: pd.DataFrame, gpu: Gpu, calibration: Calibration | None) -> Prediction:
        """Seconds of every row; without figures for a variant, those of its nearest, else the
        surface's defaults."""
        rows = _prepared(table, merge=False)
        seconds = np.full(len(rows), np.nan)
        outside = pd.Series("", index=table.index, dtype=object)
        for variant, index in rows.groupby("variant").indices.items():
            part = rows.iloc[index]
            fmt, compute = _format(part)
            if fmt is None or not _runs(gpu, fmt, compute):
                reason = "format unknown" if fmt is None else f"{gpu.name} does not run {variant}"
                outside.iloc[index] = reason
                continue
            surface = _surface(calibration, str(variant)) or Experts(compute=compute)
            seconds[index] = _seconds(surface, part, gpu, fmt)
        group = "experts " + rows["variant"] + " " + rows["distribution"].astype(str)
        group.index = table.index
        return Prediction(seconds, group, outside)


def _surface(calibration: Calibration | None, variant: str) -> Experts | None:
    """The figures of the variant, or of the same format under another kernel."""
    known = calibration.surfaces.get(_KIND, {}) if calibration else {}
    for name in (variant, *sorted(n for n in known if variant.startswith(n)), *sorted(known)):
        if name in known and (name == variant or _stem(name) == _stem(variant)):
            surface: Experts = known[name].surface
            return surface
    return None


def _stem(variant: str) -> str:
    for suffix in ("_min_latency", "_ep", "_modular"):
        variant = variant.removesuffix(suffix)
    return variant


def _variant(dtype: str, source: str) -> str:
    """Format, and a suffix where an engine has a second kernel for it.

    `_min_latency`: TensorRT-LLM's low-latency nvfp4 kernels beside its CUTLASS ones. `_ep`: vLLM on
    Hopper runs fp8_block through CUTLASS with expert parallelism, through Triton without.
    `_modular`: vLLM on Blackwell, for models with a routing function of their own (Llama 4)."""
    name = _FORMATS.get(dtype, (dtype,))[0]
    if "min_latency" in source:
        return f"{name}_min_latency"
    if name == "fp8_block" and "flashinfer_cutlass" in source:
        return f"{name}_ep"
    return f"{name}_modular" if source.endswith("modular") else name


def _prepared(table: pd.DataFrame, *, merge: bool = True) -> pd.DataFrame:
    """Rows with what the rank had to do; with `merge`, the mean of repeated measurements."""
    source = table.get("kernel_source", pd.Series("", index=table.index)).astype(str)
    rows = table.assign(kernel_source=source)
    if merge:
        keys = ["kernel_source", "moe_dtype", "distribution", *_COLUMNS]
        rows = rows.groupby(keys)["latency"].mean().reset_index()
        rows = rows.assign(seconds=rows["latency"] * 1e-3)
    rows = rows.reset_index(drop=True)
    pairs = zip(rows["moe_dtype"], rows["kernel_source"], strict=True)
    rows = rows.assign(variant=[_variant(str(d), s) for d, s in pairs])
    return rows.join(workloads(rows, rows["kernel_source"]))


def _format(part: pd.DataFrame) -> tuple[Format | None, str]:
    known = _FORMATS.get(str(part["moe_dtype"].iloc[0]))
    return (load_format(known[1]), known[2]) if known else (None, "")


def _runs(gpu: Gpu, fmt: Format | None, compute: str) -> bool:
    return fmt is not None and (compute or fmt.compute) in gpu.flops_per_s


def _reach(part: pd.DataFrame) -> dict[str, tuple[float, float]]:
    return {c: (float(part[c].min()), float(part[c].max())) for c in _COLUMNS}


def _seconds(surface: Experts, part: pd.DataFrame, gpu: Gpu, fmt: Format | None) -> Array:
    if fmt is None:
        raise ValueError("rows of an unknown format are not priced")
    column = {c: part[c].to_numpy(dtype=np.float64) for c in part.columns if c in _USED}
    return surface.seconds(
        gpu,
        fmt,
        column["choices"],
        column["touched"],
        column["largest"],
        column["hidden_size"],
        column["inter_size"] / column["moe_tp_size"],
        column["num_experts"] / column["moe_ep_size"],
        gated=True,
        tokens=column["given"],
        top_k=column["topk"],
    )


_USED = {*_COLUMNS, "choices", "touched", "largest", "given"}


def _folds(part: pd.DataFrame) -> Iterator[NDArray[np.bool_]]:
    """Rows of the models left out, every third of them by size; of a single model, token counts."""
    names = ["num_experts", "inter_size", "hidden_size"]
    model = part.groupby(names).ngroup().to_numpy()
    if model.max() == 0:
        model = part.groupby("num_tokens").ngroup().to_numpy()
    for fold in range(min(_FOLDS, int(model.max()) + 1)):
        yield model % _FOLDS == fold


def _held_out(part: pd.DataFrame, gpu: Gpu, fmt: Format | None, compute: str) -> Fitted:
    predicted = np.zeros(len(part))
    first: Experts | None = None
    for away in _folds(part):
        surface = _fit(part[~away], gpu, fmt, compute)
        predicted[away] = _seconds(surface, part[away], gpu, fmt)
        first = first or surface
    measured = part["seconds"].to_numpy()
    shown = measured > _SHOWN_S
    shown = shown if shown.any() else np.ones_like(shown)
    return Fitted(first, residual=residual(predicted[shown], measured[shown]))


def _fit(part: pd.DataFrame, gpu: Gpu, fmt: Format | None, compute: str) -> Experts:
    """Figures by least squares on logarithms, from all rows alike to leaving aside those that are
    far off; then the correction over rows per expert."""
    order = np.argsort(Draws(0, "moe fit").uniform(np.arange(len(part))))[:_FITTED_ROWS]
    part = part.iloc[np.sort(order)]
    measured = part["seconds"].to_numpy()
    weight = np.clip(measured / _SHOWN_S, 0.2, 1.0)

    def made(point: Array) -> Experts:
        figures: dict[str, Any] = dict(zip(_NAMES, map(float, np.exp(point)), strict=True))
        return Experts(compute=compute, **figures)

    def errors(point: Array) -> Array:
        ratio = np.log(_seconds(made(point), part, gpu, fmt) / measured)
        pull = _PRIOR * np.sqrt(len(measured)) * (point - _START)
        return np.append(weight * ratio, pull)

    def searched(start: Array, loss: str, rounds: int) -> Array:
        args = {"bounds": (_LOW, _HIGH), "f_scale": 0.1, "diff_step": _STEP}
        found = least_squares(errors, start, loss=loss, max_nfev=rounds, **args)
        return np.asarray(found.x)

    def misfit(point: Array) -> float:
        return float(np.abs(errors(point)).sum())

    near = []
    for height in _GROUP_ROWS:
        starts = [_start(bandwidth=b, group_rows=height) for b in _BANDWIDTHS]
        point = searched(min(starts, key=misfit), "linear", 8)
        near.append(searched(point, "soft_l1", 15))
    point = searched(min(near, key=misfit), "cauchy", 25)
    return _corrected(made(point), part, gpu, fmt, weight)


def _start(**figures: float) -> Array:
    """The start of a search with some figures of one's own."""
    point = _START.copy()
    for name, value in figures.items():
        point[_NAMES.index(name)] = np.log(value)
    return point


def _corrected(
    surface: Experts, part: pd.DataFrame, gpu: Gpu, fmt: Format | None, weight: Array
) -> Experts:
    """The surface with the correction that its own rows ask for; 1 where there are none."""
    ratio = np.log(part["seconds"].to_numpy() / _seconds(surface, part, gpu, fmt))
    height = (part["choices"] / part["touched"].clip(lower=1.0)).to_numpy()
    basis = np.stack([np.interp(height, _ROWS, row) for row in np.eye(len(_ROWS))], axis=1)

    def errors(log: Array) -> Array:
        pull = _CORRECTION_PRIOR * np.sqrt(len(ratio)) * log
        return np.append(weight * (basis @ log - ratio), pull)

    log = least_squares(errors, np.zeros(len(_ROWS)), loss="cauchy", f_scale=0.1).x
    return replace(surface, rows=_ROWS, correction=tuple(float(v) for v in np.exp(log)))
