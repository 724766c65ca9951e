"""Measured tables in the layout of AIConfigurator's system data, and whose they are.

`SYSTEM/ENGINE-VERSION/TABLE.csv[.gz]`, as in `h100_sxm/trtllm-1.3.0rc20/gemm.csv.gz`. Tables of
collectives may lie anywhere: they name the system, and the engine where one matters, in columns.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd

from sim import plugins
from sim.catalog.gpu import Gpu, load_gpu
from sim.errors import ScenarioError
from sim.fidelity.hardware import engine_called, gpu_called
from sim.fidelity.ops_tables import IN_TOPOLOGIES, SUMS, TABLES, WORDS, is_word
from sim.fidelity.tables import near, read_table, require, require_numbers

FITS = "sim.fidelity.fits"
EXCHANGES = frozenset(SUMS)
"""Tables with columns `system` and `collected_with`: several GPUs and engines in one."""

_ENGINE = re.compile(r"[A-Za-z][A-Za-z_]*-\d+\.\d+")
EXAMPLE = "h100_sxm/trtllm-1.3.0rc20/gemm.csv.gz"


@dataclass(frozen=True, slots=True)
class Only:
    """Which tables are wanted, and whose they are where no folder says it."""

    gpu: str | None = None
    """A name, or the YAML file of a GPU that the catalog does not have."""
    engine: str | None = None
    """With one, tables of collectives are left out: they are of a machine, not of an engine."""

    def of(self, path: Path, system: str, engine: str) -> tuple[Gpu, str] | None:
        """GPU and engine of a table in such folders; None where others are wanted."""
        gpu = self.gpu_of(path, system)
        wanted = engine_called(self.engine) if self.engine else None
        found = engine_called(engine) if _ENGINE.match(engine) else wanted
        if found is None:
            raise ScenarioError(
                f"'{path}': the folder '{engine}' is no engine with its version such as "
                "'vllm-0.24.0'; rename it, or say which with --engine"
            )
        return (gpu, found) if gpu is not None and wanted in (None, found) else None

    def gpu_of(self, path: Path, system: str) -> Gpu | None:
        """The GPU of a table of such a system; None where another is wanted."""
        wanted = self.wanted()
        try:
            found = gpu_called(system)
        except ScenarioError as mistake:
            if wanted is None:
                raise ScenarioError(f"'{path}': {mistake}; or say which with --gpu") from None
            return wanted
        return found if wanted is None or wanted.name == found.name else None

    def wanted(self) -> Gpu | None:
        """The GPU asked for, if any; ScenarioError, naming the option, when there is no such."""
        if self.gpu is None:
            return None
        try:
            own = self.gpu.endswith((".yaml", ".yml"))
            return load_gpu(self.gpu) if own else gpu_called(self.gpu)
        except ScenarioError as mistake:
            raise ScenarioError(f"--gpu: {mistake}") from None


@dataclass(frozen=True, slots=True)
class Job:
    """One table of one GPU under one engine."""

    path: Path
    gpu: Gpu
    engine: str
    """Engine and version; empty for tables of collectives, which belong to the machine."""
    system: str = ""
    """Value of the column `system`, where the table has one."""
    collected_with: tuple[str, ...] = ()
    """Values of the column `collected_with`: releases of one version of an engine."""

    @property
    def table(self) -> str:
        """Name of the table, and of the fit that reads it."""
        return table_name(self.path)

    @property
    def origin(self) -> str:
        """`SYSTEM/ENGINE-VERSION` as the tables call them."""
        if self.system:
            return "/".join([self.system, *filter(None, [", ".join(self.collected_with)])])
        return f"{self.path.parent.parent.name}/{self.path.parent.name}"

    def rows(self) -> pd.DataFrame:
        """The rows of this GPU and engine, checked."""
        table = checked(self.path)
        if self.system:
            table = table[table["system"] == self.system]
        if self.collected_with:
            table = table[table["collected_with"].isin(self.collected_with)]
        return table.reset_index(drop=True)


def table_name(path: Path) -> str:
    """`gemm` of `gemm.csv.gz`."""
    return path.name.removesuffix(".gz").removesuffix(".csv")


def checked(path: Path) -> pd.DataFrame:
    """A table with the columns that its fit needs, and with numbers in them."""
    name = table_name(path)
    table = read_table(path)
    columns = [*TABLES[name], *(("collected_with",) if name in EXCHANGES else ("latency",))]
    require(path, table, columns, f"a table '{name}'")
    require_numbers(path, table, [c for c in columns if not is_word(c)])
    if "latency" in columns:
        short = np.flatnonzero(table["latency"].to_numpy(dtype=float) <= 0)
        if len(short):
            raise ScenarioError(
                f"'{path}', line {short[0] + 2}: a latency of 0 or less; mend or drop the line"
            )
    return table.astype({c: str for c in table.columns if c in WORDS})


def jobs(folder: Path, only: Only | None = None) -> list[Job]:
    """Every table below `folder` that a fit reads, sorted; ScenarioError when there is none, or
    when there are two of the same GPU under the same engine."""
    only = only or Only()
    only.wanted()
    known = frozenset(plugins.names(FITS)) & frozenset(TABLES)
    paths = [p for p in _files(folder.resolve()) if table_name(p) in known]
    if not paths:
        raise ScenarioError(
            f"'{folder}' holds no table to fit; expected files like {EXAMPLE}, of "
            f"{', '.join(sorted(known))}"
        )
    found = [job for path in paths for job in _jobs_of(path, only)]
    if not found:
        wanted = " under ".join(filter(None, (only.gpu, only.engine)))
        there = sorted({f"{path.parent.parent.name}/{path.parent.name}" for path in paths})
        raise ScenarioError(f"'{folder}' has no table of {wanted}; it has {', '.join(there)}")
    _once(found)
    return found


def _files(folder: Path) -> list[Path]:
    if folder.is_file():
        return [folder]
    if not folder.is_dir():
        raise ScenarioError(f"there is no folder '{folder}'{near(folder)}")
    return sorted(p for end in ("csv", "csv.gz") for p in folder.rglob(f"*.{end}"))


def _jobs_of(path: Path, only: Only) -> Iterator[Job]:
    name = table_name(path)
    if name in EXCHANGES:
        pairs = checked(path)[["system", "collected_with"]].drop_duplicates()
        joined: dict[tuple[str, str], tuple[Job, ...]] = {}
        for system, release in sorted(pairs.itertuples(index=False, name=None)):
            of = only.of(path, system, release)
            if of is not None:
                job = Job(path, *of, system, (release,))
                joined[system, job.engine] = (*joined.get((system, job.engine), ()), job)
        for same in joined.values():
            yield replace(same[0], collected_with=tuple(r for j in same for r in j.collected_with))
    elif name in IN_TOPOLOGIES:
        for system in sorted(checked(path)["system"].unique()) if only.engine is None else ():
            gpu = only.gpu_of(path, system)
            if gpu is not None:
                yield Job(path, gpu, "", system)
    else:
        of = only.of(path, path.parent.parent.name, path.parent.name)
        if of is not None:
            yield Job(path, *of)


def _once(found: list[Job]) -> None:
    seen: dict[tuple[str, str, str], Job] = {}
    for job in found:
        other = seen.setdefault((job.gpu.name, job.engine, job.table), job)
        if other is not job:
            under = f" under {job.engine}" if job.engine else ""
            raise ScenarioError(
                f"two tables '{job.table}' of {job.gpu.name}{under}: '{other.path}' and "
                f"'{job.path}'; calibrate one at a time"
            )
