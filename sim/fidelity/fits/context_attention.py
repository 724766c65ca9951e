"""Figures of prefill attention from `context_attention.csv.gz`: sequences of `isl` new tokens."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

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
from sim.perf.surfaces.decode_attention import nearest_variant
from sim.perf.surfaces.prefill_attention import PrefillAttention

KIND = "prefill_attention"

_BOUNDS: dict[str, tuple[float, float]] = {
    "launch_s": (2e-6, 40e-6),
    "tensor": (0.05, 1.2),
    "fill_waves": (0.05, 10.0),
    "fill_power": (0.4, 3.0),
    "query_s": (1e-11, 1e-6),
    "write_s": (1e-11, 1e-6),
    "store_s": (1e-10, 1e-5),
    "chunk_query_s": (1e-10, 2e-5),
    "chunk_key_s": (1e-10, 2e-5),
    "window_tiles": (0.1, 20.0),
}
_START = PrefillAttention(store_s=5e-8, chunk_key_s=2e-7)
_STEPS = 80


class ContextAttention:
    """Fits `PrefillAttention`, a variant per operand format, cache format and head_dim."""

    def fit(
        self, table: pd.DataFrame, gpu: Gpu, *, holdout: bool = True
    ) -> dict[str, dict[str, Fitted]]:
        """See `Fit`."""
        out = {}
        for variant, rows in by_variant(table):
            held = held_out(rows) if holdout else np.zeros(len(rows), dtype=bool)
            surface = _fit(rows[~held], gpu)
            judged = rows[held & (rows["latency"] * 1e-3 > BIG_S).to_numpy()]
            score = None
            if len(judged):
                measured_s = judged["latency"].to_numpy(float) * 1e-3
                score = residual(_seconds(surface, judged, gpu), measured_s)
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
            surface = known[found].surface if found else PrefillAttention(compute=compute)
            at = (rows["variant"] == wanted).to_numpy()
            seconds[at] = _seconds(surface, rows[at], gpu)
        return Prediction(seconds, _groups(rows), pd.Series("", index=table.index))


def _groups(rows: pd.DataFrame) -> pd.Series[str]:
    window = np.where(rows["window_size"] > 0, " window", "")
    named: pd.Series[str] = "prefill attention " + rows["variant"] + window
    return named


def _fit(rows: pd.DataFrame, gpu: Gpu) -> PrefillAttention:
    names = [n for n in _BOUNDS if n != "window_tiles" or (rows["window_size"] > 0).any()]
    base = replace(_START, compute=str(rows["attn_dtype"].iloc[0]))

    def made(figures: Array) -> PrefillAttention:
        values: dict[str, Any] = {n: float(x) for n, x in zip(names, figures, strict=True)}
        return replace(base, **values)

    bounds = tuple(np.array([_BOUNDS[n][i] for n in names]) for i in (0, 1))
    _, best = fitted_logs(
        lambda x: _seconds(made(x), rows, gpu),
        rows["latency"].to_numpy(float) * 1e-3,
        np.array([getattr(base, n) for n in names]),
        (bounds[0], bounds[1]),
        _STEPS,
    )
    return made(best)


def _seconds(surface: PrefillAttention, rows: pd.DataFrame, gpu: Gpu) -> Array:
    """Every row is a step of `batch_size` whole prompts."""
    batch, length, window = (rows[c].to_numpy(float) for c in ("batch_size", "isl", "window_size"))
    inside = np.where(window > 0, np.minimum(length, window), length)
    pairs = inside * (inside + 1.0) / 2.0 + (length - inside) * inside
    return surface.seconds(
        gpu,
        q_heads=rows["num_heads"].to_numpy(float),
        kv_heads=rows["num_key_value_heads"].to_numpy(float),
        head_dim=rows["head_dim"].to_numpy(float),
        kv_bytes=rows["kv_cache_dtype"].map(lambda f: load_format(f).bytes_per_element),
        tokens=batch * length,
        chunks=batch,
        pairs=batch * pairs,
        keys=batch * length,
        window=window,
    )
