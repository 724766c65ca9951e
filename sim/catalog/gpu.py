"""What a GPU is: peaks, memory and links from data sheets. All rates dense, per direction."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from sim.catalog import files
from sim.catalog.formats import COMPUTE_KEYS
from sim.errors import ScenarioError, suggest
from sim.units import example, parse


@dataclass(frozen=True, slots=True)
class Gpu:
    """One GPU as its data sheet describes it, loaded from `catalog/gpus/NAME.yaml`."""

    name: str
    architecture: str
    """`ampere`, `hopper`, `blackwell`, `cdna3`, `cdna4`."""
    flops_per_s: dict[str, float] = field(hash=False)
    """Dense matrix peak by number format of the operands: `bf16`, `fp8`, `fp4`, `int8` …"""
    hbm_bytes: float
    """Memory that a program sees. Vendors' `80 GB` of HBM are GiB: 85.9 × 10⁹ bytes."""
    hbm_bytes_per_s: float
    sm_count: int
    """Streaming multiprocessors (AMD: compute units): thread blocks run on them in waves."""
    l2_bytes: float
    """Last-level cache on the chip."""
    scale_up_bytes_per_s: float
    """NVLink or Infinity Fabric bandwidth out of one GPU, one direction, over all its links."""
    scale_up_domain: int
    """GPUs that reach each other at that speed."""
    network_bytes_per_s: float
    """Scale-out bandwidth per GPU, one direction."""
    pcie_bytes_per_s: float
    power_w: float
    sources: dict[str, str] = field(hash=False)
    """Figure → where it is from; a guess begins with `assumed:`. `flops_per_s` stands for every
    format that has no line of its own (`flops_per_s.fp32`)."""

    @property
    def assumptions(self) -> dict[str, str]:
        """The figures that are guesses, with the reason given for each."""
        return {k: v for k, v in self.sources.items() if v.startswith("assumed:")}


_FIGURES = {
    "hbm_bytes": "bytes",
    "hbm_bytes_per_s": "bytes/s",
    "l2_bytes": "bytes",
    "scale_up_bytes_per_s": "bytes/s",
    "network_bytes_per_s": "bytes/s",
    "pcie_bytes_per_s": "bytes/s",
    "power_w": "w",
}
_COUNTS = ("sm_count", "scale_up_domain")
_KEYS = {"name", "architecture", "flops_per_s", "sources", *_COUNTS, *_FIGURES}


def gpu_names() -> tuple[str, ...]:
    """The GPUs of the catalog, sorted."""
    return files.names("gpus", ".yaml")


def load_gpu(name: str) -> Gpu:
    """The GPU `name` of the catalog (`H100` and `a100_80` are accepted), or a user's YAML file.

    Raises ScenarioError: no such GPU, or a file with a missing, unknown or ill-written figure.
    """
    path = files.find("GPU", name, "gpus", ".yaml")
    return _from_catalog(path) if path.is_relative_to(files.CATALOG) else _read_gpu(path)


@cache
def _from_catalog(path: Path) -> Gpu:
    return _read_gpu(path)


def _read_gpu(path: Path) -> Gpu:
    table = _table(path)
    _check_keys(path, "the GPU", table, _KEYS, required=_KEYS)
    flops = table["flops_per_s"]
    if not isinstance(flops, dict) or not flops:
        raise ScenarioError(
            f"{path}: 'flops_per_s' must map number formats to peaks, not {flops!r}"
        )
    _check_keys(path, "flops_per_s", flops, COMPUTE_KEYS, required=())
    figures = {key: _quantity(path, key, table[key], unit) for key, unit in _FIGURES.items()}
    return Gpu(
        name=_word(path, "name", table["name"]),
        architecture=_word(path, "architecture", table["architecture"]),
        flops_per_s={
            f: _quantity(path, f"flops_per_s.{f}", v, "flops/s") for f, v in flops.items()
        },
        sm_count=_count(path, "sm_count", table["sm_count"]),
        scale_up_domain=_count(path, "scale_up_domain", table["scale_up_domain"]),
        sources=_sources(path, table["sources"], flops),
        **figures,
    )


def _table(path: Path) -> dict[str, Any]:
    try:
        table = yaml.safe_load(files.read(path))
    except yaml.YAMLError as problem:
        where = " ".join(str(problem).split())
        raise ScenarioError(f"{path} is not valid YAML: {where}") from problem
    if not isinstance(table, dict):
        raise ScenarioError(f"{path}: a GPU file maps figures to values; this holds {table!r}")
    return table


def _check_keys(
    path: Path, what: str, given: dict[str, Any], known: Iterable[str], required: Iterable[str]
) -> None:
    for key in given:
        if key not in known:
            near = suggest(str(key), known)
            raise ScenarioError(f"{path}: '{key}: {given[key]}' is no key of {what}{near}")
    for key in sorted(required):
        if key not in given:
            raise ScenarioError(f"{path}: '{key}' is missing; every figure of {what} is needed")


def _quantity(path: Path, key: str, value: object, unit: str) -> float:
    """`value` in `unit`, written with its unit and positive: `80` alone could be bytes or GB."""
    try:
        number = parse(value, unit)
    except ValueError as problem:
        raise ScenarioError(f"{path}: '{key}': {problem}") from problem
    if _is_bare(value):
        raise ScenarioError(
            f"{path}: '{key}: {value}' has no unit; write for example {example(unit)}"
        )
    if number <= 0:
        raise ScenarioError(f"{path}: '{key}: {value}' must be positive")
    return number


def _is_bare(value: object) -> bool:
    try:
        float(str(value))
    except ValueError:
        return False
    return True


def _count(path: Path, key: str, value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ScenarioError(f"{path}: '{key}: {value}' must be a whole number, 1 or more")
    return value


def _word(path: Path, key: str, value: object) -> str:
    if not isinstance(value, str) or not value.strip():
        raise ScenarioError(f"{path}: '{key}: {value}' must be text")
    return value.strip()


def _sources(path: Path, given: object, flops: dict[str, Any]) -> dict[str, str]:
    """Every figure's source; ScenarioError when a figure has none, or a source no figure."""
    if not isinstance(given, dict):
        raise ScenarioError(f"{path}: 'sources' must map figures to where they are from")
    peaks = {f"flops_per_s.{f}" for f in flops}
    plain = {*_FIGURES, *_COUNTS}
    _check_keys(path, "sources", given, {"flops_per_s", *plain, *peaks}, required=())
    needed = plain | (set() if "flops_per_s" in given else peaks)
    for key in sorted(needed):
        if key not in given:
            raise ScenarioError(
                f"{path}: 'sources.{key}' is missing; name a data sheet, or write 'assumed: ...'"
            )
    return {key: _word(path, f"sources.{key}", text) for key, text in given.items()}
