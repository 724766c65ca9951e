"""Fitting a machine's collectives: the `collectives:` block of a topology file, from `nccl` and
`custom_allreduce` tables."""

from __future__ import annotations

from dataclasses import dataclass, replace

import pandas as pd

from sim.catalog.gpu import Gpu
from sim.fidelity.fits import _lines as lines
from sim.fidelity.fits.custom_allreduce import CustomAllreduce
from sim.fidelity.fits.nccl import ELEMENT_BYTES, Nccl
from sim.fidelity.ops_folder import Job
from sim.perf.calibration import Residual

OPERATIONS = frozenset({"all_reduce", "all_gather", "reduce_scatter", "alltoall"})


@dataclass(frozen=True, slots=True)
class MachineLines:
    """Fitted lines of one GPU's node, or why there are none."""

    gpu: str
    block: str
    """YAML to write under `collectives:` of a topology; empty where nothing was fitted."""
    residuals: tuple[tuple[str, Residual], ...]
    """(table, error on message sizes that were held out)."""
    left_out: str = ""
    """A sentence."""


def machine_lines(*tables: Job) -> MachineLines:
    """Lines of one GPU, from its tables: NCCL's, and with one of engines' own all-reduces,
    theirs."""
    gpu = tables[0].gpu
    nccl, custom = (
        next((job for job in tables if job.table == name), None)
        for name in ("nccl", "custom_allreduce")
    )
    if lines.home(gpu.name) is None:
        return _left_out(gpu, f"no machine of topologies/ is made of {gpu.name} alone")
    rows = None if nccl is None else _within(nccl.rows(), gpu)
    if rows is None or not set(rows["op_name"]) >= OPERATIONS:
        return _left_out(gpu, f"the table 'nccl' must have {', '.join(sorted(OPERATIONS))}")
    odd = sorted(set(rows["nccl_dtype"]) - set(ELEMENT_BYTES))
    if odd:
        return _left_out(gpu, f"nccl_dtype '{odd[0]}' is none of {', '.join(ELEMENT_BYTES)}")
    tuning, _ = Nccl().tune(rows, gpu, holdout=False)
    residuals = [("nccl", Nccl().tune(rows, gpu)[1])]
    if custom is not None:
        own = _within(custom.rows(), gpu)
        made, _ = CustomAllreduce().tune(own, gpu, tuning, holdout=False)
        residuals.append(("custom_allreduce", CustomAllreduce().tune(own, gpu, tuning)[1]))
        tuning = replace(tuning, custom=made)
    kept = tuple((table, r) for table, r in residuals if r is not None)
    return MachineLines(gpu.name, lines.as_yaml(tuning), kept)


def _within(rows: pd.DataFrame, gpu: Gpu) -> pd.DataFrame:
    """Rows of groups that fit into a node of the shipped machine."""
    sizes = [n for n in rows["num_gpus"].unique() if lines.among(gpu, int(n)) is not None]
    return rows[rows["num_gpus"].isin(sizes)].reset_index(drop=True)


def _left_out(gpu: Gpu, why: str) -> MachineLines:
    return MachineLines(gpu.name, "", (), f"collectives of {gpu.name} are not fitted: {why}")
