"""Fitting expert-parallel exchanges (`sim.perf.surfaces.dispatch`) to measured seconds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.optimize import least_squares

from sim.catalog.gpu import Gpu
from sim.fidelity.fits import Prediction, residual
from sim.network.collectives import Group
from sim.perf.calibration import Fitted
from sim.perf.surfaces.dispatch import COMBINE, DISPATCH, Dispatch

Array = NDArray[np.float64]

NODE = 8
"""GPUs per node (README of the tables)."""
MAX_DOMAINS = 4
"""DeepEP's benchmark routes each token to at most four nodes (tests/test_internode.py)."""
NEARLY = 0.1
"""Relative error beyond which a row counts linearly."""
START_WEIGHT = 0.01
"""Pull of a figure's logarithm to its start: decides what the rows leave open, no more."""
SPREAD = 30.0
"""A figure is sought within this factor of its start."""

SHAPE = ["node_num", "hidden_size", "num_topk", "num_experts"]


@dataclass(frozen=True, slots=True)
class Calls:
    """Rows of one shape: priced in one call."""

    rows: NDArray[np.intp]
    tokens: Array
    group: Group
    keywords: dict[str, Any]


def calls(table: pd.DataFrame, gpu: Gpu, engines: str | None = None) -> list[Calls]:
    """The rows by shape; `engines`: the column of streaming multiprocessors."""
    columns = [*SHAPE, engines] if engines else SHAPE
    keys: dict[tuple[float, ...], list[int]] = {}
    for row, key in enumerate(zip(*(table[c].tolist() for c in columns), strict=True)):
        keys.setdefault(key, []).append(row)
    tokens = table["num_token"].to_numpy(float)
    made = []
    for (nodes, hidden, top_k, experts, *rest), numbers in keys.items():
        keywords = {
            "hidden": int(hidden),
            "top_k": int(top_k),
            "experts": int(experts),
            "max_domains": MAX_DOMAINS,
            "engines": rest[0] if rest else None,
        }
        rows = np.array(numbers, dtype=np.intp)
        made.append(Calls(rows, tokens[rows], nodes_of(gpu, int(nodes)), keywords))
    return made


def nodes_of(gpu: Gpu, nodes: int) -> Group:
    """That many whole nodes; latencies of wires are in the surface's launches."""
    up, out = gpu.scale_up_bytes_per_s, gpu.network_bytes_per_s
    return Group(nodes * NODE, nodes, NODE, up, out if nodes > 1 else 0.0, 0.0, 0.0)


def price(surface: Dispatch, way: int, made: Sequence[Calls], rows: int) -> Array:
    """Seconds of every row, one way."""
    seconds = np.full(rows, np.nan)
    for call in made:
        leg = surface.dispatch_seconds if way == DISPATCH else surface.combine_seconds
        seconds[call.rows] = leg(call.tokens, call.group, **call.keywords)
    return seconds


def solve(
    start: Dispatch,
    free: Mapping[int, Sequence[str]],
    made: Sequence[Calls],
    measured: tuple[Array, Array],
) -> Dispatch:
    """The start with the figures named in `free` (by way) fitted to the measured seconds of the two
    ways: least squares of the logarithms, soft L1."""
    surface = start
    for way in (DISPATCH, COMBINE):
        surface = _one_way(surface, way, list(free[way]), made, measured[way])
    return surface


def _one_way(
    start: Dispatch, way: int, names: list[str], made: Sequence[Calls], seconds: Array
) -> Dispatch:
    def surface(logs: Array) -> Dispatch:
        changed: dict[str, Any] = {}
        for name, value in zip(names, np.exp(logs).tolist(), strict=True):
            dispatch, combine = getattr(start, name)
            changed[name] = (value, combine) if way == DISPATCH else (dispatch, value)
        return replace(start, **changed)

    target = np.log(seconds)
    first = np.log([getattr(start, name)[way] for name in names])

    def errors(logs: Array) -> Array:
        off = np.log(price(surface(logs), way, made, len(seconds))) - target
        return np.concatenate([off, START_WEIGHT * (logs - first)])

    reach = np.log(SPREAD)
    bounds = (first - reach, first + reach)
    found = least_squares(errors, first, bounds=bounds, loss="soft_l1", f_scale=NEARLY, max_nfev=60)
    return surface(found.x)


def fitted(
    surface: Dispatch,
    table: pd.DataFrame,
    held: tuple[list[Calls], tuple[Array, Array]] | None,
) -> Fitted:
    """The surface with its reach, and its residual on held-out rows, both ways together."""
    reach = {
        name: (float(table[name].min()), float(table[name].max())) for name in [*SHAPE, "num_token"]
    }
    if held is None:
        return Fitted(surface, reach, None)
    made, measured = held
    both = [price(surface, way, made, len(measured[way])) for way in (DISPATCH, COMBINE)]
    return Fitted(
        surface, reach, residual(np.concatenate(both), np.concatenate([measured[0], measured[1]]))
    )


def predict(
    surface: Dispatch, table: pd.DataFrame, gpu: Gpu, engines: str | None, name: str
) -> Prediction:
    """Dispatch and combine together, of every row."""
    made = calls(table, gpu, engines)
    seconds = sum(price(surface, way, made, len(table)) for way in (DISPATCH, COMBINE))
    group = [f"{name} {nodes} nodes" for nodes in table["node_num"]]
    return Prediction(
        np.asarray(seconds, dtype=np.float64),
        pd.Series(group, index=table.index),
        pd.Series([""] * len(table), index=table.index),
    )
