"""Times of kernels and collectives, in AIConfigurator's tables.

`SYSTEM/ENGINE-VERSION/TABLE.csv.gz` with `latency` in milliseconds, as in
`h100_sxm/trtllm-1.3.0rc20/gemm.csv.gz`; tables of collectives name the system in a column. The
table is known by its file's name or, failing that, by its columns; GPU and engine by the folders,
or as given. Repeated shapes are averaged.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pandas as pd

from sim import plugins
from sim.catalog.gpu import Gpu
from sim.errors import ScenarioError, suggest
from sim.fidelity.comparison import Comparison
from sim.fidelity.fits import Fit, Prediction
from sim.fidelity.hardware import agree, engine_called, gpu_called, is_engine, is_gpu
from sim.fidelity.kinds import Options
from sim.fidelity.ops_tables import IN_TOPOLOGIES, SUMS, TABLES, is_word
from sim.fidelity.serving import reason
from sim.fidelity.tables import (
    read_table,
    require,
    require_numbers,
    require_times,
    require_whole,
    spread,
)
from sim.perf.calibration import calibration_names, load_calibration

FITS = "sim.fidelity.fits"
LATENCY = "latency"

STEP = "step"
"""The whole number that may be 0: tokens that are there before."""


class Ops:
    """Groups: GPU, engine, kernel and format; short rows apart."""

    meaning: ClassVar[str] = "times of kernels and collectives (ops/SYSTEM/ENGINE/TABLE.csv)"
    takes: ClassVar[frozenset[str]] = frozenset({"gpu", "engine", "limit"})

    def files(self, folder: Path) -> list[Path]:
        """CSV files that are called like a table."""
        return [p for p in sorted(folder.rglob("*.csv*")) if _stem(p) in TABLES]

    def compare(self, path: Path, options: Options) -> Comparison:
        """Predict every row; ScenarioError when the table is none of those known."""
        table = read_table(path)
        name = _table_called(path, table)
        table = _checked(path, table, name)
        table = table.iloc[spread(len(table), options.limit)].reset_index(drop=True)
        _check_options(path, table, options)
        parts = [
            _compared(path, name, part.reset_index(drop=True), system, engine)
            for system, engine, part in _places(path, table, options)
        ]
        return Comparison.join(parts)


def _stem(path: Path) -> str:
    return path.name.removesuffix(".gz").removesuffix(".csv")


def _table_called(path: Path, table: pd.DataFrame) -> str:
    """By its name, else by its columns."""
    stem = _stem(path)
    if stem in TABLES:
        return stem
    fitting = [n for n, needed in TABLES.items() if set(needed) <= set(table.columns)]
    if "generation_attention" in fitting and (table["step"] == 0).all():
        fitting = ["context_attention"]
    if not fitting:
        raise ScenarioError(
            f"'{path}' is no known table of kernel times{suggest(stem, TABLES)}; docs/validate.md "
            "lists the columns of each"
        )
    most = max(fitting, key=lambda n: len(TABLES[n]))
    if most.startswith(("context", "generation", "mla")) and "mla_dtype" in table:
        raise ScenarioError(
            f"'{path}' may be one of {', '.join(sorted(fitting))}; name the file so"
        )
    return most


def _checked(path: Path, table: pd.DataFrame, name: str) -> pd.DataFrame:
    """Complete, numeric, one row a shape."""
    require(path, table, TABLES[name], f"a table '{name}'")
    sums = SUMS.get(name, ())
    if sums:
        require_numbers(path, table, sums)
        table = table.assign(**{LATENCY: table[list(sums)].sum(axis=1) / 1e3})
    require(path, table, (LATENCY,), f"a table '{name}'")
    require_times(path, table, (LATENCY,))
    whole = [c for c in TABLES[name] if not is_word(c) and c not in (*sums, STEP)]
    require_whole(path, table, whole)
    require_whole(path, table, [c for c in TABLES[name] if c == STEP], least=0)
    keys = [c for c in table.columns if c != LATENCY and not c.endswith(("_gbps", "_us"))]
    return table.groupby(keys, sort=False, dropna=False)[LATENCY].mean().reset_index()


def _check_options(path: Path, table: pd.DataFrame, options: Options) -> None:
    """Refuse an engine without figures, and options against which the path or the rows speak."""
    folder = path.resolve().parent
    if options.engine is not None:
        known = {name.split("/")[1] for name in calibration_names()}
        given = engine_called(options.engine)
        if "system" in table:
            raise ScenarioError(
                f"--engine has no effect on '{path}', whose rows name their own; leave it out"
            )
        if is_engine(folder.name):
            agree(path, "--engine", given, engine_called(folder.name))
        elif given not in known:
            raise ScenarioError(
                f"--engine: there is no calibration of '{given}'{suggest(given, known)}"
            )
    if options.gpu is not None and "system" not in table and is_gpu(folder.parent.name):
        agree(path, "--gpu", gpu_called(options.gpu).name, gpu_called(folder.parent.name).name)


def _places(
    path: Path, table: pd.DataFrame, options: Options
) -> Iterator[tuple[str, str, pd.DataFrame]]:
    """(system, engine, its rows)."""
    folder = path.resolve().parent
    engine = options.engine or folder.name
    if "system" not in table:
        yield options.gpu or folder.parent.name, engine, table
        return
    columns = ["system", *(c for c in ("framework", "collected_with", "nccl_dir") if c in table)]
    for names, part in table.groupby(columns, sort=False):
        by = dict(zip(columns, map(str, names), strict=True))
        of = by.get("framework") or by.get("collected_with") or f"nccl-{by.get('nccl_dir', '')}"
        system = by["system"]
        if options.gpu is None or gpu_called(options.gpu) == gpu_called(system):
            yield system, of, part


def _compared(path: Path, name: str, table: pd.DataFrame, system: str, engine: str) -> Comparison:
    """The rows of one GPU under one engine."""
    gpu, version = _gpu(path, system), engine_called(engine)
    found, fitted = _predicted(name, table, gpu, version)
    keys = [c for c in TABLES[name] if c in table and c not in ("system", "framework")]
    return Comparison.of(
        kind="ops",
        group=[f"{gpu.name} {version} {g}" for g in found.group],
        metric=list(found.group) if name == "gemm" else name,
        what=[" ".join(f"{k}={v}" for k, v in zip(keys, r, strict=True))
              for r in table[keys].itertuples(index=False)],
        file=path.name,
        measured_s=table[LATENCY].to_numpy(dtype=float) / 1e3,
        predicted_s=np.asarray(found.seconds, dtype=float),
        outside=list(found.outside),
        fitted=fitted,
    )  # fmt: skip


def _gpu(path: Path, system: str) -> Gpu:
    try:
        return gpu_called(system)
    except ScenarioError as mistake:
        raise ScenarioError(f"'{path}': {mistake}; or say which with --gpu") from None


def _predicted(name: str, table: pd.DataFrame, gpu: Gpu, engine: str) -> tuple[Prediction, bool]:
    """The prediction, and whether its figures were fitted to a table of this GPU and engine."""
    if name in plugins.names(FITS):
        fit: Fit = plugins.load(FITS, name)()
        calibration = load_calibration(gpu.name, engine)
        try:
            found = fit.predict(table, gpu, calibration)
        except ScenarioError as mistake:
            return _nothing(name, table, reason(mistake)), False
        return found, calibration is not None or name in IN_TOPOLOGIES
    return _nothing(name, table, f"no model predicts a table '{name}'"), False


def _nothing(name: str, table: pd.DataFrame, why: str) -> Prediction:
    """All rows outside."""
    words: Any = pd.Series([name] * len(table))
    return Prediction(np.full(len(table), np.nan), words, pd.Series([why] * len(table)))
