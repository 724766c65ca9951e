"""NCCL's collectives of one node: the lines of a topology's `collectives`, from measured tables."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from sim.catalog.gpu import Gpu
from sim.fidelity.fits import Prediction, residual
from sim.fidelity.fits import _lines as lines
from sim.network.collectives import Collectives, default_collectives
from sim.network.group import Tuning
from sim.perf.calibration import Calibration, Fitted, Residual

Array = NDArray[np.float64]

ELEMENT_BYTES = {"half": 2.0, "int8": 1.0}
"""`message_size` counts elements (README of the tables)."""

DIGITS = 3
"""Significant digits of the lines."""

SWITCHES_ADD = ("hopper", "blackwell")
"""NVLink SHARP came with the NVSwitch of the H100 (NVIDIA H100 white paper)."""


@dataclass(frozen=True, slots=True)
class Nccl:
    """Reads `collectives/nccl.csv.gz` for one GPU. Its figures are those of a machine, so that they
    stand in the topology file: `tune` gives them, `fit` gives no surface.

    A message of S bytes is, as in NCCL's own tests, the buffer that is reduced, the one that is
    gathered, or all that a device sends in an all-to-all with what it keeps.
    """

    def fit(
        self, table: pd.DataFrame, gpu: Gpu, *, holdout: bool = True
    ) -> dict[str, dict[str, Fitted]]:
        """No surfaces: see `tune`."""
        return {}

    def tune(
        self, table: pd.DataFrame, gpu: Gpu, *, holdout: bool = True
    ) -> tuple[Tuning, Residual | None]:
        """Lines of `ring`, `direct` and `in_switch`. With `holdout`, every third message size is
        left out of the fit and gives the residual; without, all rows serve."""
        left_out = np.round(np.log2(_bytes(table))) % 3 == 0
        rows = table[~left_out] if holdout else table
        tuning = _tuned(rows, gpu)
        if not holdout:
            return tuning, None
        held = table[left_out]
        return tuning, residual(_price(held, gpu, tuning), self.measured(held))

    def measured(self, table: pd.DataFrame) -> Array:
        """Seconds of every row."""
        return table["latency"].to_numpy(float) * 1e-3

    def predict(self, table: pd.DataFrame, gpu: Gpu, calibration: Calibration | None) -> Prediction:
        """Seconds by NCCL alone on the shipped machine of this GPU; the calibration has no part."""
        seconds = _price(table, gpu, None)
        missing = f"no topology has {gpu.name} in a node of that size"
        why = [missing if lost else "" for lost in np.isnan(seconds)]
        outside = pd.Series(why, index=table.index)
        group = pd.Series([f"nccl {name}" for name in table["op_name"]], index=table.index)
        return Prediction(seconds, group, outside)


def _bytes(table: pd.DataFrame) -> Array:
    width = table["nccl_dtype"].map(ELEMENT_BYTES)
    return np.asarray(table["message_size"] * width, dtype=np.float64)


def _price(table: pd.DataFrame, gpu: Gpu, tuning: Tuning | None) -> Array:
    """Seconds of the rows with the machine's tuning or another. The switch does not add int8: the
    measured bandwidth of int8 all-reduces is that of the ring."""
    seconds = np.full(len(table), np.nan)
    nbytes = _bytes(table)
    for size, operation, dtype, rows in _parts(table):
        group = lines.among(gpu, size, tuning)
        if group is None:
            continue
        if dtype == "int8":
            group = replace(group, tuning=replace(group.tuning, in_switch=()))
        priced = default_collectives(group, "none")
        seconds[rows] = operation_seconds(priced, operation, nbytes[rows])
    return seconds


def _parts(table: pd.DataFrame) -> list[tuple[int, str, str, NDArray[np.intp]]]:
    """(GPUs, operation, type, row numbers) of every part that is priced at once."""
    keys: dict[tuple[int, str, str], list[int]] = {}
    columns = (table[c].tolist() for c in ("num_gpus", "op_name", "nccl_dtype"))
    for row, key in enumerate(zip(*columns, strict=True)):
        keys.setdefault(key, []).append(row)
    return [(*key, np.array(rows, dtype=np.intp)) for key, rows in keys.items()]


def operation_seconds(priced: Collectives, operation: str, nbytes: Array) -> Array:
    """Seconds of an operation by the name that it has in the tables."""
    if operation == "all_reduce":
        return priced.all_reduce_s(nbytes)
    if operation == "all_gather":
        return priced.all_gather_s(nbytes)
    if operation == "reduce_scatter":
        return priced.reduce_scatter_s(nbytes)
    n = priced.group.size
    return priced.all_to_all_s(nbytes * ((n - 1) / n))


def _tuned(rows: pd.DataFrame, gpu: Gpu) -> Tuning:
    """Three lines of the ring (low latency, middle, bulk: NCCL's LL, LL128 and Simple), two of the
    switch where it adds, three of all-to-all."""
    fit = Nccl()
    apart = rows["op_name"] == "alltoall"
    pairwise, ring = rows[apart], rows[~apart]
    switch = 2 if gpu.architecture in SWITCHES_ADD else 0
    quick, quick_pair = fit.measured(ring).min(), fit.measured(pairwise).min()
    adds = np.array([[6 * quick, 0.0, 2.1, 0.0], [12 * quick, 0.0, 1.8, 0.0]])[:switch]

    def reducing(figures: Array) -> Tuning:
        return Tuning(ring=lines.lines_of(figures[:3]), in_switch=lines.lines_of(figures[3:]))

    starts = [np.concatenate([s, adds]) for s in _starts(0.8 * quick)]
    figures = lines.solve(lambda x: _price(ring, gpu, reducing(x)), fit.measured(ring), starts)
    direct = lines.solve(
        lambda x: _price(pairwise, gpu, Tuning(direct=lines.lines_of(x))),
        fit.measured(pairwise),
        _starts(0.9 * quick_pair),
    )
    return Tuning(
        ring=lines.lines_of(figures[:3], DIGITS),
        in_switch=lines.lines_of(figures[3:], DIGITS),
        direct=lines.lines_of(direct, DIGITS),
    )


def _starts(quick_s: float) -> list[Array]:
    """Two guesses of three lines whose first takes `quick_s` to launch."""
    first = [[1.0, 3.0, 0.5], [1.5, 1.6, 0.3], [4.0, 1.1, 0.3]]
    second = [[1.0, 6.0, 0.5], [1.4, 2.0, 0.3], [2.0, 1.2, 0.3]]
    return [
        np.array([[launch * quick_s, 0.5e-6, slow, copy] for launch, slow, copy in guess])
        for guess in (first, second)
    ]
