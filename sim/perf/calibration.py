"""Fitted figures of kernels, one file per GPU and engine in `perf/calibrations/`.

A file says where its measurements are from, when they were fitted, over which range of shapes, and
how far the fit is from rows that it did not see.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from sim.errors import ScenarioError, suggest
from sim.plugins import load

FOLDER = Path(__file__).parent / "calibrations"
SURFACES = "sim.perf.surfaces"


@dataclass(frozen=True, slots=True)
class Residual:
    """How far a fit is from measured rows that were not fitted."""

    rows: int
    mape: float
    median_ape: float
    p90_ape: float
    bias: float
    """Mean signed relative error, (predicted − measured) ÷ measured."""


@dataclass(frozen=True, slots=True)
class Fitted:
    """A surface with fitted figures, and what is known about the fit."""

    surface: Any
    """An object of the public class of `perf/surfaces/KIND.py`."""
    reach: dict[str, tuple[float, float]] = field(default_factory=dict)
    """Smallest and largest value of each shape column that was measured."""
    residual: Residual | None = None


@dataclass(frozen=True, slots=True)
class Calibration:
    """All fitted surfaces of one GPU under one engine."""

    gpu: str
    engine: str
    """Engine and version of the measurements, `trtllm-1.3`."""
    source: str
    fitted: str
    """Date of the fit, ISO 8601."""
    surfaces: dict[str, dict[str, Fitted]]
    """Kind (a file of `perf/surfaces/`) → variant (a number format, …) → figures."""

    def find(self, kind: str, variant: str) -> Fitted | None:
        """The figures of one kind of kernel in one variant, if they were fitted."""
        return self.surfaces.get(kind, {}).get(variant)


def calibration_names() -> tuple[str, ...]:
    """`GPU/ENGINE` of every calibration that is there, sorted."""
    return tuple(sorted(f"{p.parent.name}/{p.stem}" for p in FOLDER.glob("*/*.yaml")))


@cache
def load_calibration(gpu: str, engine: str) -> Calibration | None:
    """The calibration of a GPU under an engine; None where nothing was measured."""
    path = FOLDER / gpu / f"{engine}.yaml"
    return read_calibration(path) if path.exists() else None


def read_calibration(path: Path) -> Calibration:
    """A calibration file; ScenarioError on one that does not fit the surfaces."""
    table = yaml.load(path.read_text(), Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    kinds = {
        kind: {variant: _fitted(path, kind, entry) for variant, entry in variants.items()}
        for kind, variants in table["surfaces"].items()
    }
    return Calibration(table["gpu"], table["engine"], table["source"], table["fitted"], kinds)


def write_calibration(path: Path, calibration: Calibration) -> None:
    """The file that `read_calibration` reads; figures with six significant digits."""
    table = {
        "gpu": calibration.gpu,
        "engine": calibration.engine,
        "source": calibration.source,
        "fitted": calibration.fitted,
        "surfaces": {
            kind: {variant: _entry(fitted) for variant, fitted in sorted(variants.items())}
            for kind, variants in sorted(calibration.surfaces.items())
        },
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(yaml.safe_dump(table, sort_keys=False, width=100, default_flow_style=None))


def _fitted(path: Path, kind: str, entry: dict[str, Any]) -> Fitted:
    cls = load(SURFACES, kind)
    known = {f.name for f in fields(cls)}
    for name in entry["figures"]:
        if name not in known:
            raise ScenarioError(f"{path}: {kind} has no figure '{name}'{suggest(name, known)}")
    figures = {k: _frozen(v) for k, v in entry["figures"].items()}
    residual = entry.get("residual")
    return Fitted(
        surface=cls(**figures),
        reach={k: (float(low), float(high)) for k, (low, high) in entry.get("reach", {}).items()},
        residual=Residual(**residual) if residual else None,
    )


def _frozen(value: Any) -> Any:
    return tuple(_frozen(v) for v in value) if isinstance(value, list) else value


def _entry(fitted: Fitted) -> dict[str, Any]:
    surface = fitted.surface
    out: dict[str, Any] = {
        "figures": {f.name: _plain(getattr(surface, f.name)) for f in fields(surface)},
        "reach": {k: [_plain(low), _plain(high)] for k, (low, high) in fitted.reach.items()},
    }
    if fitted.residual is not None:
        residual = fitted.residual
        out["residual"] = {f.name: _plain(getattr(residual, f.name)) for f in fields(residual)}
    return out


def _plain(value: Any) -> Any:
    if isinstance(value, tuple | list):
        return [_plain(v) for v in value]
    if isinstance(value, bool | int | str) or value is None:
        return value
    return float(f"{float(value):.6g}")
