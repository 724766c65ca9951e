"""Prefill kernel of latent attention from `context_mla.csv.gz`."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd

from sim.catalog.gpu import Gpu
from sim.fidelity.fits import Array, Prediction, residual
from sim.fidelity.fits import _latent as latent
from sim.perf.calibration import Calibration, Fitted
from sim.perf.surfaces.latent_prefill import LatentPrefill

KIND = "latent_prefill"

_FREE: latent.Bounds = {
    **latent.PREFILL_BOUNDS,
    "touches": (0.1, 10.0),
    "floor_s": latent.TIMES,
    "start_s": latent.TIMES,
    "token_s": latent.TIMES,
}


class ContextMla:
    """Fits `latent_prefill`, a variant per format of values / cache (`bf16/fp8`)."""

    def fit(
        self, table: pd.DataFrame, gpu: Gpu, *, holdout: bool = True
    ) -> dict[str, dict[str, Fitted]]:
        """Kind → variant → figures; see the protocol."""
        whole = latent.averaged(latent.named(table))
        fitted = {}
        for variant, part in whole.groupby("variant"):
            fitted[str(variant)] = self._fit(latent.rows_of(part, 0), gpu, str(variant), holdout)
        return {KIND: fitted}

    def predict(self, table: pd.DataFrame, gpu: Gpu, calibration: Calibration | None) -> Prediction:
        """Seconds of every row; without figures, from those typical of the architecture."""
        names = latent.named(table)["variant"]
        seconds = np.full(len(table), np.nan)
        for variant in names.unique():
            mine = (names == variant).to_numpy()
            found = calibration.find(KIND, variant) if calibration else None
            surface = found.surface if found else latent.prefill_start(gpu, variant, True)
            rows = latent.rows_of(table[mine], 0)
            seconds[mine] = rows.prefill(surface, gpu, latent.kv_bits(variant))
        return Prediction(
            seconds, "latent prefill " + names, pd.Series("", index=table.index, dtype=str)
        )

    def _fit(self, rows: latent.Rows, gpu: Gpu, variant: str, holdout: bool) -> Fitted:
        bits = latent.kv_bits(variant)
        host = latent.host_bound_s(rows)
        start = replace(latent.prefill_start(gpu, variant, True), host_s=host)
        free = dict(_FREE)
        if host:
            free.pop("floor_s")
            free["host_s"] = latent.TIMES
        held = latent.held_out(rows) & holdout
        seen = latent.select(rows, ~held)

        def predict(surfaces: list[LatentPrefill]) -> Array:
            return seen.prefill(surfaces[0], gpu, bits)

        surface = latent.solve([start], [free], predict, seen.measured_s)[0]
        unseen = latent.select(rows, held & latent.quoted(rows))
        error = residual(unseen.prefill(surface, gpu, bits), unseen.measured_s) if holdout else None
        return Fitted(surface, latent.reach_of(rows), error)
