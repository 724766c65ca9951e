"""Fit the surfaces of kernels to measured tables: `FOLDER/SYSTEM/ENGINE-VERSION/TABLE.csv.gz`
becomes `OUT/GPU/ENGINE.yaml`.

Every table is fitted twice: on part of its shapes, to know the error on the others, and on all
rows, for the figures that are kept. The same tables give the same bytes, whatever the machine: each
fit runs in a process with one thread for linear algebra, so that sums are taken in one order.
"""

from __future__ import annotations

import os
import signal
import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import date
from multiprocessing import active_children, get_context
from pathlib import Path
from typing import Any

import numpy as np

from sim import plugins
from sim.errors import ScenarioError
from sim.fidelity.machine_lines import MachineLines, machine_lines
from sim.fidelity.ops_folder import FITS, Job, Only, jobs
from sim.fidelity.ops_tables import IN_TOPOLOGIES
from sim.perf.calibration import (
    Calibration,
    Fitted,
    Residual,
    read_calibration,
    replace_text,
    write_calibration,
)

Kinds = dict[str, dict[str, Fitted]]
Progress = Callable[[int, int, str], None]
"""Tables done, tables in all, the table that was done last."""

LEAST_ROWS = 30
"""assumed: a surface has up to some twenty figures."""
_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


@dataclass(frozen=True, slots=True)
class Options:
    """What is fitted, and how the result is labelled."""

    only: Only = field(default_factory=Only)
    workers: int = 1
    """Processes; 0 = none but this one, whose linear algebra may have many threads."""
    source: str | None = None
    """Where the measurements are from; None: the names of their folders."""
    day: date | None = None
    """Date of the fit; None: today."""
    progress: Progress | None = None


@dataclass(frozen=True, slots=True)
class Outcome:
    """What was fitted and written."""

    calibrations: tuple[tuple[Path, Calibration], ...]
    machines: tuple[tuple[Path | None, MachineLines], ...]
    notes: tuple[str, ...]
    """Sentences: what was left out, and what a replaced file held that the new one does not."""

    def rows(self) -> list[dict[str, Any]]:
        """One row per GPU, engine, kind and variant, with the error on held-out shapes."""
        found = [
            (c.gpu, c.engine, kind, variant, fitted.residual)
            for _, c in self.calibrations
            for kind, variants in c.surfaces.items()
            for variant, fitted in variants.items()
        ]
        found += [
            (m.gpu, "", "collectives", table, residual)
            for _, m in self.machines
            for table, residual in m.residuals
        ]
        return [_row(*entry) for entry in sorted(found, key=lambda entry: entry[:4])]


def _row(
    gpu: str, engine: str, kind: str, variant: str, residual: Residual | None
) -> dict[str, Any]:
    names = ("rows", "mape", "median_ape", "p90_ape", "bias")
    errors = {n: getattr(residual, n) if residual else None for n in names}
    return {"gpu": gpu, "engine": engine, "kind": kind, "variant": variant, **errors}


def fit(job: Job) -> Kinds:
    """Figures fitted to all rows, with the errors of a fit to part of them on the rest."""
    table = job.rows()
    if len(table) < LEAST_ROWS:
        raise ScenarioError(
            f"'{job.path}' has {len(table)} rows; a fit needs at least {LEAST_ROWS}"
        )
    fitter = plugins.load(FITS, job.table)()
    try:
        with warnings.catch_warnings():  # an error over no rows: refused below
            warnings.filterwarnings("ignore", "Mean of empty slice|invalid value", RuntimeWarning)
            seen: Kinds = fitter.fit(table, job.gpu, holdout=True)
            whole: Kinds = fitter.fit(table, job.gpu, holdout=False)
    except (ValueError, IndexError, KeyError, np.linalg.LinAlgError) as problem:
        why = " ".join(str(problem).split())
        raise ScenarioError(
            f"'{job.path}' cannot be fitted ({why}); it may have too few shapes, since some are "
            "left out of the fit to judge it"
        ) from problem
    return {
        kind: {
            variant: replace(fitted, residual=_residual(seen, kind, variant))
            for variant, fitted in variants.items()
        }
        for kind, variants in whole.items()
    }


def _residual(seen: Kinds, kind: str, variant: str) -> Residual | None:
    found = seen.get(kind, {}).get(variant)
    return None if found is None else found.residual


def calibrate(folder: Path, out: Path, options: Options | None = None) -> Outcome:
    """Fit every table below `folder`, then write one file per GPU and engine into `out`, and
    `GPU.collectives.yaml` for tables of collectives. Nothing is written before all is fitted."""
    options = options or Options()
    work = jobs(folder, options.only)
    _make(out)
    kernels = [job for job in work if job.table not in IN_TOPOLOGIES]
    machines = _by_machine([job for job in work if job.table in IN_TOPOLOGIES])
    tasks = [_Task(job.path, fit, (job,)) for job in kernels]
    tasks += [_Task(tables[0].path, machine_lines, tables) for tables in machines]
    made = _run(tasks, options)
    day = (options.day or date.today()).isoformat()
    given = " ".join((options.source or "").split())
    source = given or f"tables {{}} of the folder '{folder.resolve().name}'"
    places: dict[tuple[str, str], list[tuple[Job, Kinds]]] = {}
    for job, kinds in zip(kernels, made, strict=False):
        places.setdefault((job.gpu.name, job.engine), []).append((job, kinds))
    notes: list[str] = []
    written = []
    for (gpu, engine), parts in sorted(places.items()):
        label = source.replace("{}", ", ".join(sorted({job.origin for job, _ in parts})))
        surfaces = _merged([kinds for _, kinds in parts])
        calibration = Calibration(gpu, engine, label, day, surfaces)
        path = out / gpu / f"{engine}.yaml"
        notes += _lost(path, calibration)
        write_calibration(path, calibration)
        written.append((path, calibration))
    drawn = tuple(_written(out, m, source, day) for m in made[len(kernels) :])
    notes += [m.left_out for _, m in drawn if m.left_out]
    return Outcome(tuple(written), drawn, tuple(notes))


def _make(out: Path) -> None:
    """The folder, before anything is fitted for it; ScenarioError where it cannot be."""
    try:
        out.mkdir(parents=True, exist_ok=True)
        why = "" if os.access(out, os.W_OK) else "no right to write there"
    except OSError as problem:
        why = problem.strerror or str(problem)
    if why:
        raise ScenarioError(f"--out '{out}' cannot be written ({why}); name another folder")


def _by_machine(work: Sequence[Job]) -> list[tuple[Job, ...]]:
    """The tables of collectives of every GPU."""
    by_gpu: dict[str, list[Job]] = {}
    for job in work:
        by_gpu.setdefault(job.gpu.name, []).append(job)
    return [tuple(tables) for _, tables in sorted(by_gpu.items())]


def _merged(parts: list[Kinds]) -> Kinds:
    """All kinds together; a kernel's own table comes before what a whole block tells of it."""
    out: Kinds = {}
    for kinds in parts:
        for kind, variants in kinds.items():
            for variant, fitted in variants.items():
                out.setdefault(kind, {}).setdefault(variant, fitted)
    return out


def _lost(path: Path, new: Calibration) -> list[str]:
    """What a file that is replaced had, and the new one has not."""
    if not path.exists():
        return []
    try:
        old = read_calibration(path)
    except ScenarioError:
        return [f"{path} was no calibration of this version and is replaced"]
    lost = sorted(set(old.surfaces) - set(new.surfaces))
    return [f"{path} had {', '.join(lost)}, of which there is no table now"] if lost else []


def _written(
    out: Path, machine: MachineLines, source: str, day: str
) -> tuple[Path | None, MachineLines]:
    if not machine.block:
        return None, machine
    path = out / f"{machine.gpu}.collectives.yaml"
    head = f"# for `collectives:` of a topology file; {source.replace('{}', machine.gpu)}; {day}\n"
    replace_text(path, head + machine.block)
    return path, machine


@dataclass(frozen=True, slots=True)
class _Task:
    """One fit."""

    path: Path
    call: Callable[..., Any]
    arguments: tuple[Any, ...]


def _run(tasks: Sequence[_Task], options: Options) -> list[Any]:
    """Results in the order of the tasks; the largest tables begin first."""
    told = options.progress or (lambda done, of, last: None)
    if options.workers < 1:
        results = []
        for task in tasks:
            results.append(task.call(*task.arguments))
            told(len(results), len(tasks), str(task.path))
        return results
    order = sorted(range(len(tasks)), key=lambda i: -tasks[i].path.stat().st_size)
    with _pool(min(options.workers, len(tasks))) as pool:
        begun: dict[Future[Any], int] = {
            pool.submit(tasks[i].call, *tasks[i].arguments): i for i in order
        }
        for done, future in enumerate(as_completed(begun), start=1):
            future.result()
            told(done, len(tasks), str(tasks[begun[future]].path))
        return [future.result() for future, _ in sorted(begun.items(), key=lambda item: item[1])]


@contextmanager
def _pool(workers: int) -> Iterator[ProcessPoolExecutor]:
    """Processes whose linear algebra has one thread each. They leave Ctrl-C to this one, which ends
    them in the middle of their fits, as it does when one of them fails."""
    others = set(active_children())
    before = {name: os.environ.get(name) for name in _THREADS}
    os.environ.update(dict.fromkeys(_THREADS, "1"))
    pool = ProcessPoolExecutor(workers, get_context("spawn"), _leave_ctrl_c)
    try:
        yield pool
    except BaseException:
        for child in set(active_children()) - others:
            child.terminate()
        raise
    finally:
        pool.shutdown(cancel_futures=True)
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def _leave_ctrl_c() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
