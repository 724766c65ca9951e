"""Figures of decode attention from `generation_attention.csv.gz`: context = step + 1 each."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from sim.catalog.formats import load_format
from sim.catalog.gpu import Gpu
from sim.fidelity.fits import Array, Prediction, residual
from sim.fidelity.fits._attention import (
    BIG_S,
    by_variant,
    cleaned,
    fitted_logs,
    held_out,
    reach,
)
from sim.perf.calibration import Calibration, Fitted
from sim.perf.surfaces.decode_attention import DecodeAttention, nearest_variant

KIND = "decode_attention"

_EDGES = (1.0, 8.0, 16.0, 32.0, 63.0, 128.0)
"""Largest query group of each class: the heights of the tiles that hold a group (8, 16, 32; one
head has kernels of its own), then those that exceed them."""
_BOUNDS: dict[str, tuple[float, float]] = {
    "launch_s": (2e-6, 40e-6),
    "item_s": (1e-9, 5e-5),
    "query_s": (1e-9, 5e-5),
    "stream_s": (1e-9, 2e-5),
    "ramp_s": (1e-7, 60e-6),
    "bandwidth": (0.3, 1.1),
    "sm_bytes_per_s": (1e9, 2e11),
    "key_s": (1e-12, 1e-6),
    "sole_s": (1e-13, 1e-7),
    "serial_s": (1e-13, 1e-7),
}
_WINDOW_BOUNDS: dict[str, tuple[float, float]] = {
    "window_s": (1e-8, 5e-5),
    "window_ramp_s": (1e-8, 1e-4),
    "outside_s": (1e-11, 1e-6),
}
_START = {
    "launch_s": 10e-6, "item_s": 2e-6, "query_s": 1e-7, "stream_s": 5e-7, "ramp_s": 10e-6,
    "bandwidth": 0.93, "sm_bytes_per_s": 2e10, "key_s": 5e-10, "sole_s": 3e-10, "serial_s": 1e-12,
    "window_s": 2e-6, "window_ramp_s": 1e-8, "outside_s": 1e-9,
}  # fmt: skip
_PRIORS = {"bandwidth": 0.1}
"""Pull towards the start of a figure that others could stand in for: what keeps a kernel below the
bandwidth of memory is arithmetic or latency, which do not grow with the bandwidth of a GPU."""
_PRIOR = 0.003
_SLOWER = 1.5
"""Where the search starts with arithmetic or one thread block: this much slower than memory."""
_DOUBT = 2.0
"""How many times better a kernel that never splits contexts must explain the rows: the figure grows
with the longest context, and so would a wrong one."""
_WINDOW_ITEMS = (384.0, 768.0, 1e9)
_STEPS = 60


class GenerationAttention:
    """Fits `DecodeAttention`, a variant per operand format, cache format and head_dim."""

    def fit(
        self, table: pd.DataFrame, gpu: Gpu, *, holdout: bool = True
    ) -> dict[str, dict[str, Fitted]]:
        """See `Fit`."""
        out = {}
        for variant, rows in by_variant(table):
            held = held_out(rows) if holdout else np.zeros(len(rows), dtype=bool)
            surface = _fit(_Rows.of(rows[~held]), gpu)
            judged = rows[held & (rows["latency"] * 1e-3 > BIG_S).to_numpy()]
            score = None
            if len(judged):
                shapes = _Rows.of(judged)
                score = residual(shapes.predicted(surface, gpu), shapes.seconds)
            out[variant] = Fitted(surface, reach(rows), score)
        return {KIND: out}

    def predict(self, table: pd.DataFrame, gpu: Gpu, calibration: Calibration | None) -> Prediction:
        """See `Fit`; without figures for a variant those of the nearest, else the defaults."""
        known = calibration.surfaces.get(KIND, {}) if calibration else {}
        rows = cleaned(table)
        seconds = np.full(len(rows), np.nan)
        for wanted in rows["variant"].unique():
            compute, kv, dim = wanted.split("/")
            found = nearest_variant(known, compute, kv, int(dim))
            surface = known[found].surface if found else DecodeAttention()
            at = (rows["variant"] == wanted).to_numpy()
            seconds[at] = _Rows.of(rows[at]).predicted(surface, gpu)
        window = np.where(rows["window_size"] > 0, " window", "")
        group: pd.Series[str] = "decode attention " + rows["variant"] + window
        return Prediction(seconds, group, pd.Series("", index=table.index))


@dataclass(frozen=True, slots=True)
class _Rows:
    """Columns of measured rows, each shaped (rows,)."""

    q_heads: Array
    kv_heads: Array
    head_dim: Array
    kv_bytes: Array
    batch: Array
    context: Array
    outside: Array
    seconds: Array

    @classmethod
    def of(cls, rows: pd.DataFrame) -> _Rows:
        batch, step, window = (
            rows[c].to_numpy(float) for c in ("batch_size", "step", "window_size")
        )
        length = step + 1.0
        inside = np.where(window > 0, np.minimum(length, window), length)
        sizes = rows["kv_cache_dtype"].map(lambda f: load_format(f).bytes_per_element)
        return cls(
            q_heads=rows["num_heads"].to_numpy(float),
            kv_heads=rows["num_key_value_heads"].to_numpy(float),
            head_dim=rows["head_dim"].to_numpy(float),
            kv_bytes=sizes.to_numpy(float),
            batch=batch,
            context=batch * inside,
            outside=batch * (length - inside),
            seconds=rows["latency"].to_numpy(float) * 1e-3 if "latency" in rows else batch * np.nan,
        )

    def where(self, keep: NDArray[np.bool_]) -> _Rows:
        return _Rows(*(getattr(self, f.name)[keep] for f in fields(self)))

    def predicted(self, surface: DecodeAttention, gpu: Gpu) -> Array:
        return surface.seconds(
            gpu,
            q_heads=self.q_heads,
            kv_heads=self.kv_heads,
            head_dim=self.head_dim,
            kv_bytes=self.kv_bytes,
            batch=self.batch,
            context=self.context,
            outside=self.outside,
        )


def _fit(rows: _Rows, gpu: Gpu) -> DecodeAttention:
    """Classes of query groups are kernels of their own: each is fitted by itself."""
    group, classes, low = rows.q_heads / rows.kv_heads, [], 0.0
    for edge in _EDGES:
        at = (group > low) & (group <= edge)
        if at.any():
            classes.append(replace(_fit_class(rows.where(at), gpu), groups=(edge,)))
        low = edge
    windowed = any(c.window_items[0] for c in classes)
    joined = {
        f.name: tuple(getattr(c, f.name)[0] for c in classes)
        for f in fields(DecodeAttention)
        if windowed or f.name not in ("window_items", *_WINDOW_BOUNDS)
    }
    return DecodeAttention(**joined)


def _fit_class(rows: _Rows, gpu: Gpu) -> DecodeAttention:
    """The best of several starts: memory, arithmetic or one thread block may set the pace, and a
    kernel of a windowed layer may split contexts up to some number of items."""
    windowed = bool((rows.outside > 0).any())
    key_bytes = 2.0 * float(rows.head_dim[0]) * float(rows.kv_bytes[0])
    memory_s = key_bytes * gpu.sm_count / gpu.hbm_bytes_per_s
    paces: tuple[tuple[float, dict[str, float]], ...] = (
        (1.0, {}),
        (1.0, {"key_s": _SLOWER * memory_s}),
        (_DOUBT, {"serial_s": _SLOWER * memory_s}),
    )
    tries = []
    for items in _WINDOW_ITEMS if windowed else (0.0,):
        for doubt, pace in paces[:2] if windowed else paces:
            cost, surface = _fit_from(rows, gpu, _START | pace, items)
            tries.append((cost * doubt, surface))
    return min(tries, key=lambda found: found[0])[1]


def _fit_from(
    rows: _Rows, gpu: Gpu, start: dict[str, float], items: float
) -> tuple[float, DecodeAttention]:
    bounds = _BOUNDS | (_WINDOW_BOUNDS if items else {})

    def made(figures: Array) -> DecodeAttention:
        values = {n: (float(x),) for n, x in zip(bounds, figures, strict=True)}
        return DecodeAttention(groups=(1e9,), window_items=(items,), **values)

    low, high = (np.array([b[i] for b in bounds.values()]) for i in (0, 1))
    first = np.array([start[n] for n in bounds])
    pull = np.array([_PRIORS.get(n, _PRIOR) for n in bounds])
    cost, best = fitted_logs(
        lambda x: rows.predicted(made(x), gpu),
        rows.seconds,
        first,
        (low, high),
        _STEPS,
        pull,
    )
    return cost, made(best)
