"""What the fits of the attention tables share: their names, repeated rows, and held-out shapes."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.optimize import least_squares

from sim.fidelity.fits import Array

BIG_S = 20e-6
"""Rows that errors are quoted on: shorter ones are launches and noise (the data's README)."""
_SMALL_WEIGHT = 0.3
_LOSS_SCALE = 0.1
"""Relative error from which a row pulls less than in proportion: kernels that are chosen badly at
a few shapes must not bend the figures of the others."""
_HELD_BATCHES = (4, 64)

_FORMATS = {"bfloat16": "bf16", "float16": "fp16"}
_KEYS = [
    "batch_size", "isl", "num_heads", "num_key_value_heads", "head_dim",
    "attn_dtype", "kv_cache_dtype", "step", "window_size",
]  # fmt: skip
_COLUMNS = ["batch_size", "isl", "num_heads", "num_key_value_heads", "head_dim", "step"]


def cleaned(table: pd.DataFrame) -> pd.DataFrame:
    """The table with catalog format names, all key columns, and its rows in their order."""
    rows = table.copy()
    for column, value in (("window_size", 0), ("step", 0), ("isl", 1)):
        if column not in rows:
            rows[column] = value
    for column in ("attn_dtype", "kv_cache_dtype"):
        rows[column] = rows[column].map(lambda name: _FORMATS.get(name, name))
    rows["variant"] = (
        rows["attn_dtype"] + "/" + rows["kv_cache_dtype"] + "/" + rows["head_dim"].astype(str)
    )
    return rows


def by_variant(table: pd.DataFrame) -> Iterator[tuple[str, pd.DataFrame]]:
    """Variant and its rows, with the mean of shapes that were measured more than once."""
    rows = cleaned(table)
    mean = rows.groupby(["variant", *_KEYS], as_index=False)["latency"].mean()
    for variant in sorted(mean["variant"].unique()):
        yield variant, mean[mean["variant"] == variant].reset_index(drop=True)


def held_out(rows: pd.DataFrame) -> NDArray[np.bool_]:
    """Rows to judge by: every third head count, and two batch sizes, at all their shapes."""
    heads = sorted(rows["num_heads"].unique())[1::3]
    return np.asarray(
        rows["num_heads"].isin(heads) | rows["batch_size"].isin(_HELD_BATCHES), dtype=bool
    )


def reach(rows: pd.DataFrame) -> dict[str, tuple[float, float]]:
    """Smallest and largest value of each shape column."""
    return {c: (float(rows[c].min()), float(rows[c].max())) for c in _COLUMNS}


def fitted_logs(
    predict: Callable[[Array], Array],
    measured_s: Array,
    start: Array,
    bounds: tuple[Array, Array],
    steps: int,
    pull: Array | float = 0.0,
) -> tuple[float, Array]:
    """Positive figures that minimise the robust log error of `predict`; its cost, and them.

    `start` and `bounds` are the figures themselves; the search is in their logarithms. `pull` is
    what it costs to leave `start`: relative error of all rows per unit of logarithm.
    """
    prior = np.sqrt(len(measured_s)) * np.asarray(pull) * np.ones(len(start))
    weight = np.where(measured_s > BIG_S, 1.0, _SMALL_WEIGHT)

    def error(x: Array) -> Array:
        misses = weight * np.log(predict(np.exp(x)) / measured_s)
        return np.concatenate([misses, prior * (x - np.log(start))])

    low, high = (np.log(b) for b in bounds)
    found = least_squares(
        error,
        np.clip(np.log(start), low + 1e-6, high - 1e-6),
        bounds=(low, high),
        loss="soft_l1",
        f_scale=_LOSS_SCALE,
        diff_step=1e-3,
        max_nfev=steps,
    )
    return float(found.cost), np.exp(found.x)
