"""Fit the surfaces of kernels to measured tables, and write `perf/calibrations/`.

`FOLDER/SYSTEM/ENGINE-VERSION/TABLE.csv.gz` becomes `OUT/GPU/ENGINE.yaml`. Every table is fitted
twice: on part of its shapes, to know the error on the others, and on all rows, for the figures that
are kept.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path

from sim import plugins
from sim.catalog.gpu import Gpu
from sim.errors import ScenarioError
from sim.fidelity.hardware import engine_called, gpu_called
from sim.fidelity.tables import read_table
from sim.perf.calibration import Calibration, Fitted, Residual, write_calibration

FITS = "sim.fidelity.fits"
SURFACES_OF_NETWORK = ("nccl", "custom_allreduce", "deepep_low_latency", "deepep_normal")
"""Tables of collectives: they hold several systems in one file."""

Kinds = dict[str, dict[str, Fitted]]


@dataclass(frozen=True, slots=True)
class Job:
    """One table of one GPU under one engine."""

    path: Path
    gpu: Gpu
    engine: str

    @property
    def table(self) -> str:
        """Name of the table, and of the fit that reads it."""
        return self.path.name.split(".")[0]


def jobs(folder: Path) -> list[Job]:
    """Every table below `folder` that a fit reads; ScenarioError when there is none."""
    known = set(plugins.names(FITS)) - set(SURFACES_OF_NETWORK)
    found = []
    for path in sorted(folder.glob("**/*.csv*")):
        if path.name.split(".")[0] in known:
            engine, system = path.parent.name, path.parent.parent.name
            found.append(Job(path, gpu_called(system), engine_called(engine)))
    if not found:
        raise ScenarioError(
            f"'{folder}' holds no table to fit; expected files like "
            f"h100_sxm/trtllm-1.3.0rc20/gemm.csv.gz, of {', '.join(sorted(known))}"
        )
    return found


def fit(job: Job) -> Kinds:
    """Figures fitted to all rows, with the errors of a fit to part of them on the rest."""
    table = read_table(job.path)
    fitter = plugins.load(FITS, job.table)()
    seen: Kinds = fitter.fit(table, job.gpu, holdout=True)
    whole: Kinds = fitter.fit(table, job.gpu, holdout=False)
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


def calibrate(
    folder: Path, out: Path, workers: int = 1, progress: Callable[[int, int], None] | None = None
) -> Iterator[tuple[Path, Calibration]]:
    """Fit every table below `folder` and write one file per GPU and engine into `out`."""
    from joblib import Parallel, delayed

    work = jobs(folder)
    made: list[Kinds] = []
    runner = Parallel(n_jobs=workers, return_as="generator")
    for kinds in runner(delayed(fit)(job) for job in work):
        made.append(kinds)
        if progress is not None:
            progress(len(made), len(work))
    places = sorted({(j.gpu.name, j.engine) for j in work})
    for gpu, engine in places:
        both = zip(work, made, strict=True)
        mine = [(j, k) for j, k in both if (j.gpu.name, j.engine) == (gpu, engine)]
        calibration = Calibration(
            gpu=gpu,
            engine=engine,
            source=_source(mine[0][0]),
            fitted=date.today().isoformat(),
            surfaces=_merged([kinds for _, kinds in mine]),
        )
        path = out / gpu / f"{engine}.yaml"
        write_calibration(path, calibration)
        yield path, calibration


def _merged(parts: list[Kinds]) -> Kinds:
    """All kinds together; a kernel's own table comes before what a whole block tells of it."""
    out: Kinds = {}
    for kinds in parts:
        for kind, variants in kinds.items():
            for variant, fitted in variants.items():
                out.setdefault(kind, {}).setdefault(variant, fitted)
    return out


def _source(job: Job) -> str:
    return (
        f"kernel tables of {job.path.parent.parent.name}/{job.path.parent.name} in the layout of "
        "NVIDIA AIConfigurator's system data (Apache-2.0)"
    )
