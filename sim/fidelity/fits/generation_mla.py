"""Decode kernel of latent attention from `generation_mla.csv.gz`: context = step + 1."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd

from sim.catalog.gpu import Gpu
from sim.fidelity.fits import Array, Prediction, residual
from sim.fidelity.fits import _latent as latent
from sim.perf.calibration import Calibration, Fitted
from sim.perf.surfaces.latent_decode import LatentDecode

KIND = "latent_decode"

_FREE: latent.Bounds = {
    **latent.DECODE_BOUNDS,
    "floor_s": latent.TIMES,
    "floor_head_s": latent.TIMES,
    "base_head_s": latent.TIMES,
    "start_s": latent.TIMES,
    "tile_s": latent.TIMES,
    "head_s": latent.TIMES,
}
_LONE = "one head per GPU takes a kernel without matrix units"


class GenerationMla:
    """Fits `latent_decode`, a variant per format of values / cache (`bf16/fp8`)."""

    def fit(
        self, table: pd.DataFrame, gpu: Gpu, *, holdout: bool = True
    ) -> dict[str, dict[str, Fitted]]:
        """Kind → variant → figures; see the protocol."""
        whole = latent.averaged(latent.named(table)[~_lone(table)])
        fitted = {}
        for variant, part in whole.groupby("variant"):
            fitted[str(variant)] = self._fit(latent.rows_of(part, 1), gpu, str(variant), holdout)
        return {KIND: fitted}

    def predict(self, table: pd.DataFrame, gpu: Gpu, calibration: Calibration | None) -> Prediction:
        """Seconds of every row; without figures, from those typical of the architecture."""
        names = latent.named(table)["variant"]
        seconds = np.full(len(table), np.nan)
        for variant in names.unique():
            mine = (names == variant).to_numpy()
            found = calibration.find(KIND, variant) if calibration else None
            surface = found.surface if found else latent.decode_start(gpu, variant)
            rows = latent.rows_of(table[mine], 1)
            seconds[mine] = rows.decode(surface, gpu, latent.kv_bits(variant))
        lone = _lone(table)
        outside = lone.map({True: _LONE, False: ""})
        return Prediction(np.where(lone, np.nan, seconds), "latent decode " + names, outside)

    def _fit(self, rows: latent.Rows, gpu: Gpu, variant: str, holdout: bool) -> Fitted:
        bits = latent.kv_bits(variant)
        host = latent.host_bound_s(rows)
        start = replace(latent.decode_start(gpu, variant), host_s=host)
        free = dict(_FREE)
        if host:
            for name in ("floor_s", "floor_head_s", "base_head_s"):
                free.pop(name)
            free["host_s"] = latent.TIMES
        held = latent.held_out(rows) & holdout
        seen = latent.select(rows, ~held)

        def predict(surfaces: list[LatentDecode]) -> Array:
            return seen.decode(surfaces[0], gpu, bits)

        surface = latent.solve([start], [free], predict, seen.measured_s)[0]
        unseen = latent.select(rows, held & latent.quoted(rows))
        error = residual(unseen.decode(surface, gpu, bits), unseen.measured_s) if holdout else None
        return Fitted(surface, latent.reach_of(rows), error)


def _lone(table: pd.DataFrame) -> pd.Series[bool]:
    """Rows of vLLM's Triton kernel with one head: it has another kernel for that (no `tl.dot`)."""
    triton = table["kernel_source"].str.contains("triton")
    lone: pd.Series[bool] = triton & (table["num_heads"] == 1)
    return lone
