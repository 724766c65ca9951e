"""Predictions against a file of measurements, or a folder of them."""

from __future__ import annotations

from dataclasses import fields, replace
from pathlib import Path

from sim import plugins
from sim.errors import ScenarioError, suggest
from sim.fidelity.comparison import Comparison
from sim.fidelity.groups import split_small
from sim.fidelity.kinds import Kind, Options
from sim.fidelity.tables import near
from sim.perf.calibration import calibration_names, load_calibration

KINDS = "sim.fidelity.kinds"
EVERYTHING = "all"
"""The kind that stands for every kind; its file is a folder of measurements."""

SPLIT = "ops"
"""The kind whose short rows are summarised apart."""
MIN_S = 20e-6
"""What counts as short where nothing is said: about a launch and its noise."""


def kind_called(name: str) -> Kind:
    """A kind of measurement; ScenarioError, with a suggestion, when there is none."""
    known = plugins.names(KINDS)
    if name not in known:
        near = suggest(name, (*known, EVERYTHING))
        raise ScenarioError(f"there is no kind of measurement called '{name}'{near}")
    made: Kind = plugins.load(KINDS, name)()
    return made


def validate(
    kind: str, path: Path, options: Options | None = None, min_s: float = MIN_S
) -> Comparison:
    """Compare all rows of a file of measurements of a kind, or of all such files of a folder.

    Of kernels, rows under `min_s` go to groups of their own. Raises ScenarioError for an
    unknown kind, a file that is not of it, or an option without effect.
    """
    given = options or Options()
    if kind == EVERYTHING:
        return _everything(path, given, min_s)
    chosen = kind_called(kind)
    _check_effect(kind, chosen, given)
    _check_calibrations()
    if not path.exists():
        raise ScenarioError(f"there is no file '{path}'{near(path)}")
    files = [path]
    if path.is_dir():
        files = chosen.files(path)
        if not files:
            raise ScenarioError(
                f"the folder '{path}' has no measurements of kind '{kind}' ({chosen.meaning}); "
                "name a file or another folder"
            )
    joined = Comparison.join(chosen.compare(file, given) for file in files)
    return split_small(joined, min_s) if kind == SPLIT else joined


def _everything(folder: Path, options: Options, min_s: float) -> Comparison:
    """Every kind over a folder of measurements."""
    if not folder.exists():
        raise ScenarioError(f"there is no folder '{folder}'{near(folder)}")
    if not folder.is_dir():
        raise ScenarioError(f"'{folder}' is not a folder; kind 'all' takes a folder")
    parts = []
    for name in plugins.names(KINDS):
        chosen = kind_called(name)
        if chosen.files(folder):
            useful = {
                f.name: getattr(Options(), f.name)
                for f in fields(Options)
                if f.name not in {*chosen.takes, "progress"}
            }
            parts.append(validate(name, folder, replace(options, **useful), min_s))
    if not parts:
        raise ScenarioError(
            f"the folder '{folder}' has no measurements that are known; see docs/validate.md for "
            "the files that each kind reads"
        )
    return Comparison.join(parts)


def _check_calibrations() -> None:
    """A calibration that does not load is a mistake, not a row outside the model's reach."""
    for name in calibration_names():
        load_calibration(*name.split("/"))


def _check_effect(name: str, kind: Kind, options: Options) -> None:
    plain = Options()
    for option in ("gpu", "engine", "limit", "workers", "overrides"):
        if option not in kind.takes and getattr(options, option) != getattr(plain, option):
            written = "set" if option == "overrides" else option
            raise ScenarioError(f"--{written} has no effect on kind '{name}'; leave it out")
