"""Fitted figures of kernels, one file per GPU and engine in `perf/calibrations/`.

A file says where its measurements are from, when they were fitted, over which range of shapes, and
how far the fit is from rows that it did not see.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field, fields
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from sim.errors import ScenarioError, suggest
from sim.plugins import load

FOLDER = Path(__file__).parent / "calibrations"
VARIABLE = "SIM_CALIBRATIONS"
"""Names a folder of one's own calibrations (several: parted as in PATH) that come first."""
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


def calibration_folders(own: str | None = None) -> tuple[Path, ...]:
    """Where calibrations are looked for, the first first: `own`, those that the environment names
    (`VARIABLE`), the packaged ones. ScenarioError on a folder without calibrations."""
    named = [("calibrations", own)] if own else []
    named += [(VARIABLE, part) for part in os.environ.get(VARIABLE, "").split(os.pathsep) if part]
    return (*(_folder(setting, name) for setting, name in named), FOLDER)


def _folder(setting: str, name: str) -> Path:
    path = Path(name).expanduser()
    if not any(path.glob("*/*.yaml")):
        what = "has no GPU/ENGINE.yaml in it" if path.is_dir() else "is no folder"
        raise ScenarioError(f"{setting}: '{name}' {what}; `sim calibrate` writes such a folder")
    return path


def calibration_names(folder: Path | None = None) -> tuple[str, ...]:
    """`GPU/ENGINE` of every calibration that is there, or that is in one folder, sorted."""
    places = (folder,) if folder is not None else calibration_folders()
    return tuple(sorted({f"{p.parent.name}/{p.stem}" for x in places for p in x.glob("*/*.yaml")}))


def load_calibration(gpu: str, engine: str, *, folder: Path | None = None) -> Calibration | None:
    """The calibration of a GPU under an engine, from one folder or the first that has it; None
    where nothing was measured."""
    for place in (folder,) if folder is not None else calibration_folders():
        path = place / gpu / f"{engine}.yaml"
        if path.exists():
            return _kept(path, path.stat().st_mtime_ns)
    return None


@cache
def _kept(path: Path, written_ns: int) -> Calibration:
    """A file is read once, and again when it was written again."""
    return read_calibration(path)


def read_calibration(path: Path) -> Calibration:
    """A calibration file; ScenarioError on one that does not fit the surfaces."""
    try:
        table = yaml.load(path.read_text("utf-8"), getattr(yaml, "CSafeLoader", yaml.SafeLoader))
        kinds = {
            kind: {variant: _fitted(path, kind, entry) for variant, entry in variants.items()}
            for kind, variants in table["surfaces"].items()
        }
        return Calibration(table["gpu"], table["engine"], table["source"], table["fitted"], kinds)
    except (KeyError, TypeError, AttributeError, ValueError, yaml.YAMLError) as problem:
        what = " ".join(str(problem).split())
        raise ScenarioError(f"{path} is no calibration ({what}); make it anew") from problem


def write_calibration(path: Path, calibration: Calibration) -> None:
    """The file that `read_calibration` reads; figures with six significant digits. One that is
    there is replaced when the new one is complete."""
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
    text = yaml.safe_dump(
        table, sort_keys=False, width=100, default_flow_style=None, allow_unicode=True
    )
    replace_text(path, text)


def replace_text(path: Path, text: str) -> None:
    """Write a file aside, then put it in its place: there is never half a file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f".{path.name}.{os.getpid()}")
    aside.write_text(text, encoding="utf-8", newline="\n")
    aside.replace(path)


def _fitted(path: Path, kind: str, entry: dict[str, Any]) -> Fitted:
    cls = load(SURFACES, kind)
    known = {f.name for f in fields(cls)}
    for name in entry["figures"]:
        if name not in known:
            raise ScenarioError(
                f"{path}: {kind} has no figure '{name}'{suggest(name, known)}; `sim calibrate` "
                "makes the file anew"
            )
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
