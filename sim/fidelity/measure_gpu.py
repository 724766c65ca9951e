"""Measuring one's own GPU: from the device that PyTorch sees to tables that can be fitted."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import date
from pathlib import Path

from sim.catalog.gpu import Gpu, gpu_names
from sim.errors import ScenarioError
from sim.fidelity.bench import Device
from sim.fidelity.bench.run import Progress, measure
from sim.fidelity.bench.timing import StopRule
from sim.fidelity.bench.torch_device import cuda_device
from sim.fidelity.hardware import gpu_called
from sim.fidelity.ops_folder import Only

TABLES = "measured"
"""The folder of the tables, below that of the calibrations."""


@dataclass(frozen=True, slots=True)
class Measured:
    """What was measured, and where it lies."""

    gpu: Gpu
    name: str
    """As the driver calls the device."""
    tables: Path
    about: Path
    """`device.json`: device, versions, launches, bandwidth, method."""
    source: str
    """For the calibrations that are made of it."""


def measure_gpu(
    out: Path,
    *,
    gpu: str | None = None,
    quick: bool = False,
    day: date | None = None,
    progress: Progress | None = None,
    device: Device | None = None,
    rule: StopRule | None = None,
) -> Measured:
    """Time the GPU's kernels and write tables below `OUT/measured`; `gpu` says which of the
    catalog it is, or its own YAML file, where the device's name does not tell. ScenarioError,
    saying what is missing, where there is no GPU or no PyTorch."""
    device = device or cuda_device()
    facts = device.facts()
    wanted = Only(gpu=gpu).wanted()
    found = wanted or gpu_called(_catalog_name(facts.name))
    day = day or date.today()
    tables = out / TABLES
    place = measure(
        device, found.name, tables, quick=quick, day=day, rule=rule, progress=progress
    )  # fmt: skip
    source = f"measured by `sim calibrate --measure` on {facts.name} with {facts.software}, {day}"
    return Measured(found, facts.name, tables, place / "device.json", source)


def _catalog_name(name: str) -> str:
    """`a100-80` of `NVIDIA A100-SXM4-80GB`; ScenarioError when the catalog has no such GPU.

    What is longest of the catalog's names wins; a name with a size (`a100-80`) needs that size.
    PCIe and NVL cards are other devices than the SXM modules of the same name.
    """
    parts = re.split(r"[\s_-]+", name.lower())
    plain, joined = {re.sub(r"(?<=\d)gb?$", "", part) for part in parts}, "".join(parts)
    if not {"pcie", "nvl"} & set(parts):
        fitting = [g for g in gpu_names() if set(g.split("-")) <= plain or g in joined]
        if fitting:
            return max(fitting, key=len)
    raise ScenarioError(
        f"the device '{name}' is none of the catalog's GPUs ({', '.join(gpu_names())}); say with "
        "--gpu which it is like, or give --gpu a YAML file with its data sheet"
    )
