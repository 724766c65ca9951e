"""Fitted figures of kernels, one file per GPU and engine in `perf/calibrations/`.

A file says where its measurements are from, when they were fitted, over which range of shapes, and
how far the fit is from rows that it did not see.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
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
HEAD = ("gpu", "engine", "source", "fitted")
"""What a file begins with."""
DIVISORS = frozenset({
    "absorbed", "bandwidth", "compute", "engines", "flops", "hbm", "load", "memory", "narrow",
    "narrow_tile", "out", "quant_hbm", "raster", "rebuild", "sm_bytes_per_s", "split_hbm",
    "store", "tensor", "tile", "tile_columns", "up",
})  # fmt: skip
"""Figures that something is divided by: rates, fractions of peaks, sizes of tiles. They are more
than 0, all others 0 or more."""


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
            found = _kept(path, path.stat().st_mtime_ns)
            if (found.gpu, found.engine) != (gpu, engine):
                raise ScenarioError(
                    f"{path} says gpu: {found.gpu} and engine: {found.engine}; name its folder "
                    "and the file so, or mend what it says"
                )
            return found
    return None


@cache
def _kept(path: Path, written_ns: int) -> Calibration:
    """A file is read once, and again when it was written again."""
    return read_calibration(path)


def read_calibration(path: Path) -> Calibration:
    """A calibration file; ScenarioError on one that does not fit the surfaces."""
    try:
        table = yaml.load(path.read_text("utf-8"), getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    except (UnicodeDecodeError, yaml.YAMLError) as problem:
        raise _none(path, " ".join(str(problem).split())) from problem
    if not isinstance(table, dict):
        raise _none(path, "it is empty" if table is None else "it is no mapping")
    lost = [name for name in (*HEAD, "surfaces") if not table.get(name)]
    if lost:
        raise _none(path, f"it has no {lost[0]}")
    try:
        kinds = {
            kind: {variant: _fitted(path, kind, variant, entry) for variant, entry in of.items()}
            for kind, of in table["surfaces"].items()
        }
    except KeyError as problem:
        raise _none(path, f"a variant has no {problem.args[0]}") from problem
    except (TypeError, AttributeError, ValueError) as problem:
        what = "surfaces are a mapping of kinds, of variants, of figures, reach and residual"
        raise _none(path, what) from problem
    gpu, engine, source, fitted = (str(table[name]) for name in HEAD)
    return Calibration(gpu, engine, source, fitted, kinds)


def _none(path: Path, why: str) -> ScenarioError:
    return ScenarioError(f"{path} is no calibration ({why}); `sim calibrate` makes it anew")


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


def _fitted(path: Path, kind: str, variant: str, entry: dict[str, Any]) -> Fitted:
    cls = load(SURFACES, kind)
    usual = {f.name: getattr(cls(), f.name) for f in fields(cls)}
    for name, value in entry["figures"].items():
        if name not in usual:
            raise ScenarioError(
                f"{path}: {kind} has no figure '{name}'{suggest(name, usual)}; `sim calibrate` "
                "makes the file anew"
            )
        _check(f"{path}: {kind} {variant}: {name}", value, _wanted(name, value, usual[name]))
    residual, reach = entry.get("residual") or {}, entry.get("reach") or {}
    for name, value in (*residual.items(), *reach.items()):
        wanted = "" if _are_numbers(value) else "a finite number"
        _check(f"{path}: {kind} {variant}: {name}", value, wanted)
    return Fitted(
        surface=cls(**{k: _frozen(v) for k, v in entry["figures"].items()}),
        reach={k: (float(low), float(high)) for k, (low, high) in reach.items()},
        residual=Residual(**residual) if residual else None,
    )


def _check(where: str, value: object, wanted: str) -> None:
    if wanted:
        shown = "empty" if value in (None, []) else repr(value)
        raise ScenarioError(
            f"{where} is {shown}; it must be {wanted}: mend it, or make the file anew with "
            "`sim calibrate`"
        )


def _wanted(name: str, value: Any, usual: Any) -> str:
    """What a figure must be and is not; empty if it is. `usual` is the surface's own."""
    if isinstance(usual, str):
        return "" if isinstance(value, str) else "text"
    if isinstance(usual, tuple) != isinstance(value, list) or (usual and value == []):
        return "a list of numbers" if isinstance(usual, tuple) else "a number"
    if not _are_numbers(value):
        return "a finite number"
    least = min(_flat(value), default=1.0)
    if name in DIVISORS:
        return "" if least > 0.0 else "more than 0"
    return "" if least >= 0.0 else "0 or more"


def _are_numbers(value: Any) -> bool:
    """Whether a value is a finite number, or a list of such."""
    kinds = (int, float)
    return all(type(v) in kinds and math.isfinite(v) for v in _flat(value))


def _flat(value: Any) -> Iterator[Any]:
    """The values of lists in lists."""
    if isinstance(value, list):
        for v in value:
            yield from _flat(v)
    else:
        yield value


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
