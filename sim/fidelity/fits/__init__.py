"""How figures are fitted to measured tables, one file per table kind of the `ops` layout.

`fits/NAME.py` holds one public class; NAME is that of the table (`gemm.csv.gz` is `gemm.py`). A fit
reads the measured table of one GPU under one engine and gives fitted surfaces; it also predicts a
table from surfaces, for `sim validate ops`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from sim.catalog.gpu import Gpu
from sim.perf.calibration import Calibration, Fitted, Residual

Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Prediction:
    """Predicted seconds of the rows of a table, and the group that each row belongs to."""

    seconds: Array
    """NaN where the row is outside the model's reach."""
    group: pd.Series[str]
    """`gemm bf16`, `decode attention fp8 kv` …"""
    outside: pd.Series[str]
    """Why a row is outside the model's reach; empty where it is inside."""


class Fit(Protocol):
    """What every file here provides. Tables are as in the data's README; latency in ms."""

    def fit(
        self, table: pd.DataFrame, gpu: Gpu, *, holdout: bool = True
    ) -> dict[str, dict[str, Fitted]]:
        """Kind → variant → fitted figures. With `holdout`, fitted on some shapes and with the
        residual on the others; without, on all rows (residual None)."""

    def predict(self, table: pd.DataFrame, gpu: Gpu, calibration: Calibration | None) -> Prediction:
        """Seconds of every row, from the calibration or, without one, from the architecture."""


def residual(predicted: Array, measured: Array) -> Residual:
    """Errors of predicted against measured seconds; both positive and of the same length."""
    error = predicted / measured - 1.0
    ape = np.abs(error)
    return Residual(
        rows=len(error),
        mape=float(ape.mean()),
        median_ape=float(np.median(ape)),
        p90_ape=float(np.quantile(ape, 0.9)),
        bias=float(error.mean()),
    )
