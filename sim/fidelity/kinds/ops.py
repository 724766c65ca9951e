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
from sim.fidelity.hardware import engine_called, gpu_called
from sim.fidelity.kinds import Options
from sim.fidelity.serving import reason
from sim.fidelity.tables import read_table, require, require_numbers, spread
from sim.perf.calibration import load_calibration

FITS = "sim.fidelity.fits"
LATENCY = "latency"

_HEADS = ("num_heads", "batch_size", "isl")
_GROUPED = (*_HEADS, "num_key_value_heads", "head_dim", "attn_dtype", "kv_cache_dtype")
_MLA = (*_HEADS, "mla_dtype", "kv_cache_dtype", "step", "kernel_source")
_DEEPEP = ("node_num", "hidden_size", "num_token", "num_topk", "num_experts")

TABLES: dict[str, tuple[str, ...]] = {
    "gemm": ("gemm_dtype", "m", "n", "k"),
    "moe": ("moe_dtype", "num_tokens", "hidden_size", "inter_size", "topk", "num_experts",
            "moe_tp_size", "moe_ep_size", "distribution"),
    "context_attention": _GROUPED,
    "generation_attention": (*_GROUPED, "step"),
    "mla_context_module": (*_MLA, "gemm_type"),
    "mla_generation_module": (*_MLA, "gemm_type"),
    "context_mla": _MLA,
    "generation_mla": _MLA,
    "nccl": ("system", "op_name", "nccl_dtype", "num_gpus", "message_size"),
    "custom_allreduce": ("system", "framework", "kernel_source", "allreduce_dtype", "num_gpus",
                         "message_size"),
    "deepep_low_latency": ("system", *_DEEPEP, "dispatch_avg_t_us", "combine_avg_t_us"),
    "deepep_normal": ("system", *_DEEPEP, "dispatch_sms", "dispatch_transmit_us",
                      "dispatch_notify_us", "combine_transmit_us", "combine_notify_us"),
}  # fmt: skip
"""Columns that each table must have, beside `latency`."""

SUMS: dict[str, tuple[str, ...]] = {
    "deepep_low_latency": ("dispatch_avg_t_us", "combine_avg_t_us"),
    "deepep_normal": ("dispatch_transmit_us", "dispatch_notify_us", "combine_transmit_us",
                      "combine_notify_us"),
}  # fmt: skip
"""Tables whose latency is the sum of these columns, in microseconds."""

IN_TOPOLOGIES = frozenset({"nccl", "custom_allreduce"})
"""Tables whose fitted figures are in the machines of `topologies/`, not in a calibration."""

WORDS = frozenset({"kernel_source", "model", "architecture", "system", "framework", "distribution",
                   "collected_with", "nccl_dir", "op_name"})  # fmt: skip
"""Columns of text, beside those that end in `dtype` and `gemm_type`."""


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
    require_numbers(path, table, [c for c in (*TABLES[name], LATENCY) if not _is_word(c)])
    short = np.flatnonzero(table[LATENCY].to_numpy(dtype=float) <= 0)
    if len(short):
        raise ScenarioError(f"'{path}', line {short[0] + 2}: a latency of 0 or less is none")
    keys = [c for c in table.columns if c != LATENCY and not c.endswith(("_gbps", "_us"))]
    return table.groupby(keys, sort=False, dropna=False)[LATENCY].mean().reset_index()


def _is_word(column: str) -> bool:
    return column in WORDS or column.endswith(("dtype", "gemm_type"))


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
