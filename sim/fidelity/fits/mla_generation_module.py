"""Whole block of latent attention in decode from `mla_generation_module.csv.gz`."""

from __future__ import annotations

import pandas as pd

from sim.catalog.gpu import Gpu
from sim.fidelity.fits import Prediction
from sim.fidelity.fits import _latent as latent
from sim.fidelity.fits import _latent_module as module
from sim.perf.calibration import Calibration, Fitted

_PHASE = module.Phase("latent_decode", "decode", latent.DECODE_BOUNDS, latent.KEY_BOUNDS)


class MlaGenerationModule:
    """Fits `latent_block`, a variant per weight type (`decode fp8_block`); for engines without a
    table of kernels also `latent_decode`, a variant per format of values / cache."""

    def fit(
        self, table: pd.DataFrame, gpu: Gpu, *, holdout: bool = True
    ) -> dict[str, dict[str, Fitted]]:
        """Kind → variant → figures; see the protocol."""
        return module.fit(table, gpu, _PHASE, holdout)

    def predict(self, table: pd.DataFrame, gpu: Gpu, calibration: Calibration | None) -> Prediction:
        """Seconds of every row; without figures, from those typical of the architecture."""
        return module.predict(table, gpu, _PHASE, calibration)
