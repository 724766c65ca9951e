"""Figures of dense matrix products from `gemm.csv.gz`: columns gemm_dtype, m, n, k, latency."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.optimize import least_squares

from sim.catalog.formats import FORMATS, Format
from sim.catalog.gpu import Gpu
from sim.fidelity.fits import Array, Prediction, residual
from sim.perf.calibration import Calibration, Fitted
from sim.perf.surfaces.gemm import Gemm as Surface

KIND = "gemm"

_VARIANTS = {"bfloat16": "bf16", "float16": "fp16"}
"""Names of the tables that are not those of the project."""
_BLOCK_SCALED = {"fp8_block": replace(FORMATS["fp8"], name="fp8_block")}
"""Variants that are no number formats of the catalog. One scale per 128 × 128 weights adds less
than a thousandth of the bytes."""

_BIG_S = 20e-6
"""Errors are quoted on rows from here on; shorter ones count in proportion to their time."""
_HOST_S = 40e-6
"""No GPU needs this long for a small product: a table whose shortest row does was measured
outside CUDA graphs, the host's launches included."""
_SMALL = 2.0**24
"""Elements of a weight that a GPU reads in far less time than a host needs for a launch."""

_Tiles = tuple[tuple[float, ...], ...]
_MANY = 1e12
_LIBRARIES: tuple[tuple[_Tiles, tuple[float, ...]], ...] = (
    # cuBLAS, and most others: several tiles, and a split depth where they are few
    (Surface().tiles, Surface().splits),
    # the largest tiles of warp-specialised kernels, no split
    (((128.0, 128.0), (128.0, 256.0)), (1.0,)),
    # DeepGEMM: 64 or 128 rows, columns in steps of 16, here a selection of them
    (
        tuple((r, c) for r in (64.0, 128.0) for c in (16.0, 32.0, 64.0, 96.0, 128.0, 192.0, 256.0)),
        (1.0,),
    ),
    # vLLM's CUTLASS kernels on Hopper by tokens: csrc/…/scaled_mm_sm90_fp8_dispatch.cuh, whose
    # rules in widths (narrower tiles up to 64 tokens; 256 rows for depths from 6144) are left out
    (
        (
            (64.0, 64.0, 0.0, 64.0),
            (64.0, 128.0, 64.0, 128.0),
            (128.0, 128.0, 128.0, _MANY),
            (256.0, 128.0, 8191.0, _MANY),
        ),
        (1.0,),
    ),
    # and on Blackwell: csrc/…/scaled_mm_sm100_fp8_dispatch.cuh
    (
        (
            (32.0, 128.0, 0.0, 16.0),
            (64.0, 128.0, 16.0, 64.0),
            (128.0, 128.0, 64.0, 256.0),
            (256.0, 128.0, 256.0, _MANY),
        ),
        (1.0,),
    ),
)
"""Tiles and splits that engines' libraries offer; the table says which of these fits."""

_BOUNDS: dict[str, tuple[float, float]] = {
    "floor_s": (1e-6, 5e-6),
    "compute": (0.3, 1.0),
    "edge": (0.1, 200.0),
    "hbm": (0.4, 1.0),
    "raster": (256.0, 32768.0),
    "load": (0.5, 50.0),
    "store": (0.1, 50.0),
    "depth_s": (1e-11, 5e-9),
    "tile_s": (1e-8, 1e-5),
    "stream": (0.01, 1.0),
    "split_s": (1e-7, 5e-5),
    "split_hbm": (0.05, 50.0),
    "quant_s": (5e-7, 1.2e-5),
    "quant_hbm": (0.05, 1.0),
    "quant_row_s": (1e-9, 1e-5),
    "quant_chunk_s": (1e-9, 1e-5),
    "quant_depth_s": (1e-12, 1e-8),
}
"""Figures that are fitted, all in logarithms, and what is physically plausible for them."""
_PRIOR, _PRIOR_HOST = 0.2, 1.0
"""Pull of every figure towards its default: decides only where the table says nothing. Stronger
where the host's launches hide all products but the largest."""
_SOFT = 0.1
"""Relative error from which rows count less than their square (soft L1)."""

_STARTS: tuple[dict[str, float], ...] = (
    {
        "stream": 0.3, "raster": 300.0,
        "quant_row_s": 3e-7, "quant_chunk_s": 5e-7, "quant_hbm": 0.7,
    },
    {"stream": 0.9, "raster": 400.0},
    {"stream": 0.1, "raster": 800.0},
)  # fmt: skip
"""Quantisation bound by rows, and by bytes: the maximum of both has no slope towards the other."""
_LOOK = 12
_STEPS = 40
"""Evaluations of a first look at a library, and of the fit."""
_EVERY = 4
"""Part of the rows that a first look takes."""

_TOKENS = (1.0, 16.0, 32.0, 64.0, 96.0, 128.0, 192.0, 256.0, 512.0, 1024.0, 4096.0, 16384.0)
_WIDTH = (512.0, 4096.0, 65536.0)
_DEPTH = (512.0, 4096.0, 65536.0)
_SHRINK = 3.0
"""Pull of every point of the correction towards none, in rows of 20 µs or more."""


@dataclass(frozen=True, slots=True)
class _Rows:
    """Measured rows of one variant."""

    m: Array
    n: Array
    k: Array
    seconds: Array

    @property
    def weight(self) -> Array:
        return np.minimum(1.0, self.seconds / _BIG_S)

    def where(self, keep: NDArray[np.bool_]) -> _Rows:
        return _Rows(self.m[keep], self.n[keep], self.k[keep], self.seconds[keep])


@dataclass(frozen=True, slots=True)
class Gemm:
    """Fits every number format of a table by itself: its library, its figures, its correction."""

    def fit(
        self, table: pd.DataFrame, gpu: Gpu, *, holdout: bool = True
    ) -> dict[str, dict[str, Fitted]]:
        """With `holdout`, fitted without some widths (as n or k) and some token counts, and with
        the residual on rows of these over 20 µs; without, on all rows."""
        out = {}
        for name, part in table.groupby("gemm_dtype"):
            fmt = _format(str(name))
            if fmt is not None and fmt.compute in gpu.flops_per_s:
                out[_variant(str(name))] = _fitted(_rows(part), gpu, fmt, holdout)
        return {KIND: out}

    def predict(self, table: pd.DataFrame, gpu: Gpu, calibration: Calibration | None) -> Prediction:
        """Seconds of every row; the default figures serve variants that were not fitted."""
        seconds = np.full(len(table), np.nan)
        names = table["gemm_dtype"].astype(str)
        outside = pd.Series("", index=table.index, dtype=object)
        for name in names.unique():
            rows = (names == name).to_numpy()
            fmt = _format(name)
            if fmt is None or fmt.compute not in gpu.flops_per_s:
                outside[rows] = f"{gpu.name} has no matrix units for {name}"
                continue
            found = calibration.find(KIND, _variant(name)) if calibration else None
            surface = found.surface if found else Surface()
            m, n, k = (table[c].to_numpy(dtype=np.float64)[rows] for c in ("m", "n", "k"))
            seconds[rows] = surface.seconds(gpu, fmt, m, n, k)
        return Prediction(seconds, "gemm " + names.map(_variant), outside)


def _variant(name: str) -> str:
    return _VARIANTS.get(name, name)


def _format(name: str) -> Format | None:
    variant = _variant(name)
    return FORMATS.get(variant) or _BLOCK_SCALED.get(variant)


def _rows(table: pd.DataFrame) -> _Rows:
    mean = table.groupby(["m", "n", "k"], as_index=False)["latency"].mean()
    m, n, k, ms = (mean[c].to_numpy(dtype=np.float64) for c in ("m", "n", "k", "latency"))
    return _Rows(m, n, k, ms * 1e-3)


def _fitted(rows: _Rows, gpu: Gpu, fmt: Format, holdout: bool) -> Fitted:
    columns = {"m": rows.m, "n": rows.n, "k": rows.k}
    reach = {name: (float(x.min()), float(x.max())) for name, x in columns.items()}
    if not holdout:
        return Fitted(_surface(rows, gpu, fmt), reach)
    held = _held_out(rows)
    surface = _surface(rows.where(~held), gpu, fmt)
    unseen = rows.where(held & (rows.seconds > _BIG_S))
    if not len(unseen.m):
        return Fitted(surface, reach)
    predicted = surface.seconds(gpu, fmt, unseen.m, unseen.n, unseen.k)
    return Fitted(surface, reach, residual(predicted, unseen.seconds))


def _held_out(rows: _Rows) -> NDArray[np.bool_]:
    """Rows of every fifth width inside the range, whether as n or as k, and of every fifth token
    count (768, 3584, 12288 and 96, 768 in the tables of the `ops` layout)."""
    widths = np.unique(np.concatenate([rows.n, rows.k]))[1:-1][2::5]
    tokens = np.unique(rows.m)[1:-1][6::5]
    return np.isin(rows.n, widths) | np.isin(rows.k, widths) | np.isin(rows.m, tokens)


def _surface(rows: _Rows, gpu: Gpu, fmt: Format) -> Surface:
    launch = _launches(rows)
    rows = _clear_of(rows, gpu, fmt, launch)
    figures = _descend(_first_look(rows, gpu, fmt, launch), rows, gpu, fmt, _STEPS)[1]
    return _corrected(figures, rows, gpu, fmt)


def _launches(rows: _Rows) -> tuple[tuple[float, float], ...]:
    """What the host needs for a launch, by tokens: medians over small weights, steps of under a
    tenth joined. Empty where the table holds times of the GPU alone."""
    if rows.seconds.min() < _HOST_S:
        return ()
    small = rows.where((rows.n * rows.k <= _SMALL) & (rows.m <= 2048))
    steps: list[tuple[float, float]] = []
    for m in np.unique(small.m):
        seconds = float(np.median(small.seconds[small.m == m]))
        if steps and abs(seconds / steps[-1][1] - 1.0) < 0.1:
            steps[-1] = (float(m), steps[-1][1])
        else:
            steps.append((float(m), seconds))
    return tuple(steps)


def _clear_of(rows: _Rows, gpu: Gpu, fmt: Format, launch: tuple[tuple[float, float], ...]) -> _Rows:
    """Rows that no GPU could do within a launch, by its data sheet: the others tell of the host."""
    if not launch:
        return rows
    until = np.array([tokens for tokens, _ in launch[:-1]])
    floor = np.array([seconds for _, seconds in launch])[np.searchsorted(until, rows.m)]
    arithmetic = 2.0 * rows.m * rows.n * rows.k / gpu.flops_per_s[fmt.compute]
    traffic = rows.n * rows.k * fmt.bytes_per_element / gpu.hbm_bytes_per_s
    return rows.where(np.maximum(arithmetic, traffic) > floor)


def _first_look(
    rows: _Rows, gpu: Gpu, fmt: Format, launch: tuple[tuple[float, float], ...]
) -> Surface:
    """The best of all libraries from one start, then of the best two from the others, on a part
    of the rows."""
    part = rows.where(np.arange(len(rows.m)) % _EVERY == 0) if len(rows.m) > 1500 else rows
    plain = replace(Surface(), launch_s=launch)

    def look(library: int, start: dict[str, Any]) -> tuple[float, int, Surface]:
        tiles, splits = _LIBRARIES[library]
        begun = replace(plain, tiles=tiles, splits=splits, **start)
        cost, found = _descend(begun, part, gpu, fmt, _LOOK)
        return cost, library, found

    looks = sorted((look(i, _STARTS[0]) for i in range(len(_LIBRARIES))), key=lambda x: x[:2])
    looks += [look(i, start) for _, i, _ in looks[:2] for start in _STARTS[1:]]
    return min(looks, key=lambda x: x[:2])[2]


def _descend(
    start: Surface, rows: _Rows, gpu: Gpu, fmt: Format, steps: int
) -> tuple[float, Surface]:
    """Cost and figures of the least squares of log ratios from `start` on."""
    names = [name for name in _BOUNDS if _matters(name, start, fmt)]
    low, high = (np.log([_BOUNDS[name][i] for name in names]) for i in (0, 1))
    usual = np.log([getattr(Surface(), name) for name in names])
    begin = np.clip(np.log([getattr(start, name) for name in names]), low + 1e-3, high - 1e-3)
    pull = _PRIOR_HOST if start.launch_s else _PRIOR
    scale, measured = np.sqrt(rows.weight), np.log(rows.seconds)

    def at(x: Array) -> Surface:
        figures: dict[str, Any] = dict(zip(names, map(float, np.exp(x)), strict=True))
        return replace(start, **figures)

    def off(x: Array) -> Array:
        seconds = at(x).seconds(gpu, fmt, rows.m, rows.n, rows.k, launches=False)
        return np.concatenate([scale * (np.log(seconds) - measured), pull * (x - usual)])

    found = least_squares(
        off, begin, bounds=(low, high), loss="soft_l1", f_scale=_SOFT, max_nfev=steps, x_scale=0.3
    )
    return float(found.cost), at(found.x)


def _matters(name: str, surface: Surface, fmt: Format) -> bool:
    """Whether a figure shows in such rows: no quantisation in 16 bit, no sums without a split,
    and no constants of the GPU where all small products wait for the host."""
    if surface.launch_s and name in ("floor_s", "quant_s"):
        return False
    if name.startswith("quant"):
        return fmt.bits < 16
    return not name.startswith("split") or len(surface.splits) > 1


def _corrected(surface: Surface, rows: _Rows, gpu: Gpu, fmt: Format) -> Surface:
    """With the grid of factors that is left: ridge regression of the log ratios on hat functions,
    reweighted as soft L1."""
    ratio = np.log(rows.seconds / surface.seconds(gpu, fmt, rows.m, rows.n, rows.k, launches=False))
    tokens = _hats(_TOKENS, rows.m)[:, :, None]
    width, depth = (_hats(g, x)[:, None, :] for g, x in ((_WIDTH, rows.n), (_DEPTH, rows.k)))
    columns = [(tokens * part).reshape(len(ratio), -1) for part in (width, depth)]
    basis = np.concatenate(columns, axis=1)
    found: Array = np.zeros(basis.shape[1])
    for _ in range(6):
        weight = rows.weight / np.sqrt(1.0 + ((ratio - basis @ found) / _SOFT) ** 2)
        weighted = basis * weight[:, None]
        shrink = _SHRINK * np.eye(len(found))
        found = np.asarray(np.linalg.solve(weighted.T @ basis + shrink, weighted.T @ ratio), float)
    by_width, by_depth = np.split(np.exp(found), [columns[0].shape[1]])
    return replace(
        surface,
        grid_tokens=_TOKENS, grid_width=_WIDTH, grid_depth=_DEPTH,
        by_width=_table(by_width, len(_WIDTH)), by_depth=_table(by_depth, len(_DEPTH)),
    )  # fmt: skip


def _table(values: Array, columns: int) -> tuple[tuple[float, ...], ...]:
    return tuple(tuple(float(v) for v in row) for row in values.reshape(-1, columns))


def _hats(knots: tuple[float, ...], x: Array) -> Array:
    """Shares of the knots in the linear interpolation at each x, clamped; rows sum to one."""
    grid = np.array(knots)
    return np.stack([np.interp(x, grid, unit) for unit in np.eye(len(grid))], axis=1)
