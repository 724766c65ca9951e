"""Measured tables beside what calibrations of the same GPU predict for the same shapes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from sim import plugins
from sim.catalog.gpu import Gpu, gpu_names
from sim.fidelity.fits import Fit
from sim.fidelity.ops_folder import FITS, Only, jobs
from sim.fidelity.ops_tables import IN_TOPOLOGIES
from sim.perf.calibration import FOLDER, Calibration, calibration_names, load_calibration

SHOWN_S = 20e-6
"""Rows shorter than this are left out: launches and noise."""


def against_published(tables: Path, gpu: Gpu, folder: Path | None = None) -> list[dict[str, Any]]:
    """One row per kernel group and published engine: shapes, median and spread (10th and 90th
    percentile) of measured ÷ published seconds. Collectives stand beside the shipped machine.
    Published are the packaged calibrations, or those of another folder."""
    folder = folder or FOLDER
    if gpu.name not in gpu_names():
        return []
    names = (name.split("/") for name in calibration_names(folder))
    engines = [engine for name, engine in names if name == gpu.name]
    out = []
    for job in jobs(tables, Only(gpu=gpu.name)):
        rows, fit = job.rows(), plugins.load(FITS, job.table)()
        of = ["machine"] if job.table in IN_TOPOLOGIES else engines
        for engine in of:
            calibration = load_calibration(gpu.name, engine, folder=folder)
            out += _compared(fit, rows, gpu, engine, calibration)
    return out


def _compared(
    fit: Fit, rows: pd.DataFrame, gpu: Gpu, engine: str, calibration: Calibration | None
) -> list[dict[str, Any]]:
    found = fit.predict(rows, gpu, calibration)
    measured = rows["latency"].to_numpy(dtype=float) * 1e-3
    predicted = np.asarray(found.seconds, dtype=float)
    keep = np.isfinite(predicted) & (measured > SHOWN_S)
    ratio = pd.Series(measured[keep] / predicted[keep])
    made = []
    for group, part in ratio.groupby(found.group.to_numpy()[keep]):
        low, middle, high = (float(part.quantile(q)) for q in (0.1, 0.5, 0.9))
        made.append(
            {"group": str(group), "engine": engine, "rows": len(part), "median_ratio": middle,
             "p10_ratio": low, "p90_ratio": high}
        )  # fmt: skip
    return made
