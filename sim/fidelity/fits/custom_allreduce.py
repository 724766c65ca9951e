"""The all-reduces of serving engines: the `custom` lines of a topology, from measured tables."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from sim.catalog.gpu import Gpu
from sim.fidelity.fits import Prediction, residual
from sim.fidelity.fits import _lines as lines
from sim.network.collectives import Custom, default_collectives
from sim.network.group import Tuning
from sim.perf.calibration import Calibration, Fitted, Residual

Array = NDArray[np.float64]

ENGINES = {"TRTLLM": "trtllm", "vLLM_custom_graph": "vllm", "vLLM_custom_eager": "vllm"}
"""Engine of each `kernel_source`."""
EAGER = "vLLM_custom_eager"

ELEMENT_BYTES = 2.0
"""All rows are bfloat16, and `message_size` counts elements (README of the tables)."""

DIGITS = 3
"""Significant digits of the lines."""

EAGER_S = {"ampere": (44e-6, 44e-6)}
"""Shortest call outside CUDA graphs, by architecture: (alone or small, through symmetric memory),
from the flat part of the eager rows: vLLM 0.14 on A100; vLLM 0.24 on the others."""
NEWER_EAGER_S = (20.5e-6, 37e-6)
SYMMETRIC_BYTES = 256.0 * 1024
"""From here on, among more than two GPUs, vLLM 0.24 takes symmetric memory (same rows)."""
CLONE = 0.88
"""Fraction of memory bandwidth at which an eager call copies its input: excess over the graph rows
at 512 MiB, mean of A100, H100 and B200."""


@dataclass(frozen=True, slots=True)
class CustomAllreduce:
    """Reads `collectives/custom_allreduce.csv.gz` for one GPU. Its figures are those of a machine,
    so that they stand in the topology file: `tune` gives them, `fit` gives no surface."""

    def fit(
        self, table: pd.DataFrame, gpu: Gpu, *, holdout: bool = True
    ) -> dict[str, dict[str, Fitted]]:
        """No surfaces: see `tune`."""
        return {}

    def tune(
        self, table: pd.DataFrame, gpu: Gpu, nccl: Tuning, *, holdout: bool = True
    ) -> tuple[tuple[Custom, ...], Residual | None]:
        """One `Custom` per engine of the table, given NCCL's lines for the messages beyond. With
        `holdout`, every third message size is left out of the fit and gives the residual."""
        rows = table[table["kernel_source"] != EAGER]
        left_out = np.round(np.log2(rows["message_size"].to_numpy())) % 3 == 0
        seen = rows[~left_out] if holdout else rows
        engines = sorted({ENGINES[source] for source in seen["kernel_source"]})
        made = tuple(_custom(engine, seen, gpu, nccl) for engine in engines)
        if not holdout:
            return made, None
        held = rows[left_out]
        tuning = replace(nccl, custom=made)
        return made, residual(_price(held, gpu, tuning), self.measured(held))

    def measured(self, table: pd.DataFrame) -> Array:
        """Seconds of every row."""
        return table["latency"].to_numpy(float) * 1e-3

    def predict(self, table: pd.DataFrame, gpu: Gpu, calibration: Calibration | None) -> Prediction:
        """Seconds on the shipped machine of this GPU; the calibration has no part."""
        seconds = _price(table, gpu, None)
        missing = f"no topology has {gpu.name} in a node of that size with that engine's all-reduce"
        why = [missing if lost else "" for lost in np.isnan(seconds)]
        outside = pd.Series(why, index=table.index)
        names = [f"custom all-reduce {source}" for source in table["kernel_source"]]
        group = pd.Series(names, index=table.index)
        return Prediction(seconds, group, outside)


def _price(table: pd.DataFrame, gpu: Gpu, tuning: Tuning | None) -> Array:
    seconds = np.full(len(table), np.nan)
    nbytes = table["message_size"].to_numpy(float) * ELEMENT_BYTES
    pairs = list(zip(table["num_gpus"].tolist(), table["kernel_source"].tolist(), strict=True))
    for size, source in dict.fromkeys(pairs):
        rows = np.array([i for i, pair in enumerate(pairs) if pair == (size, source)])
        group, engine = lines.among(gpu, size, tuning), ENGINES[source]
        if group is None or all(c.engine != engine for c in group.tuning.custom):
            continue
        inside = default_collectives(group, engine).all_reduce_s(nbytes[rows])
        if source == EAGER:
            inside = _eager(inside, nbytes[rows], size, gpu)
        seconds[rows] = inside
    return seconds


def _eager(graph_s: Array, nbytes: Array, size: int, gpu: Gpu) -> Array:
    """Outside CUDA graphs: not sooner than the host has launched it, and a copy of the input."""
    small, large = EAGER_S.get(gpu.architecture, NEWER_EAGER_S)
    floor = np.where((nbytes >= SYMMETRIC_BYTES) & (size > 2), large, small)
    return np.maximum(floor, graph_s) + 2 * nbytes / (CLONE * gpu.hbm_bytes_per_s)


def _custom(engine: str, rows: pd.DataFrame, gpu: Gpu, nccl: Tuning) -> Custom:
    """Two lines of each shot; largest message: just below the first at which the engine is nowhere
    a tenth ahead of NCCL."""
    rows = rows[rows["kernel_source"].map(ENGINES) == engine]
    seconds = CustomAllreduce().measured(rows)
    nbytes = rows["message_size"].to_numpy(float) * ELEMENT_BYTES
    bare = Custom(engine=engine)
    ahead = seconds < 0.9 * _price(rows, gpu, replace(nccl, custom=(bare,)))
    limit = float(min(set(nbytes) - set(nbytes[ahead]), default=np.inf)) - 1024.0
    inside = nbytes <= limit

    def make(figures: Array, digits: int = 17) -> Custom:
        return Custom(
            engine=engine,
            one_shot=lines.lines_of(figures[:2], digits),
            two_shot=lines.lines_of(figures[2:], digits),
            max_bytes=limit,
        )

    quick = seconds.min()
    start = [[0.8, 0.1e-6, 4.0, 0.1], [1.2, 0.1e-6, 1.7, 0.1]]
    start += [[1.6, 0.1e-6, 1.7, 0.3], [4.0, 0.1e-6, 1.2, 0.3]]
    figures = lines.solve(
        lambda x: _price(rows[inside], gpu, replace(nccl, custom=(make(x),))),
        seconds[inside],
        [np.array(start) * [quick, 1.0, 1.0, 1.0]],
    )
    return make(figures, DIGITS)
