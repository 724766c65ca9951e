"""Fitting the lines of a machine's collectives (`sim.network.group.Line`) to measured seconds."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import yaml
from numpy.typing import NDArray
from scipy.optimize import least_squares

from sim.catalog.gpu import Gpu
from sim.network.group import Group, Line, Lines, Tuning
from sim.network.machine import read_machine
from sim.network.topology import load_topology, topology_names

Array = NDArray[np.float64]

LOW = (1e-7, 1e-9, 1.0, 0.02)
"""Least launch and step in seconds, link ÷ achieved bandwidth, link ÷ copy bandwidth."""
HIGH = (3e-4, 2e-5, 100.0, 20.0)

START_WEIGHT = 0.005
"""Pull of a figure's logarithm to its start: decides what the rows leave open, no more."""
NEARLY = 0.05
"""Relative error beyond which a row counts linearly: protocol switches are not noise."""


@cache
def home(gpu: str) -> str | None:
    """The first topology that is made of this GPU alone and says what its software achieves; None
    where there is none."""
    for name in topology_names():
        machine = read_machine(name)[1]
        if {group.gpu for group in machine.groups} == {gpu} and machine.collectives != Tuning():
            return name
    return None


def among(gpu: Gpu, size: int, tuning: Tuning | None = None) -> Group | None:
    """`size` GPUs of one node of the shipped machine; None where it has no such group. With
    another tuning than the machine's if one is given."""
    group = _group(gpu.name, size)
    return group if group is None or tuning is None else replace(group, tuning=tuning)


@cache
def _group(gpu: str, size: int) -> Group | None:
    name = home(gpu)
    if name is None:
        return None
    topology = load_topology(name)
    if size > len(topology.devices):
        return None
    return topology.group(range(size))


def lines_of(figures: Array, digits: int = 17) -> Lines:
    """Lines from an array of (lines, 4): launch, step, link ÷ achieved, link ÷ copy, in so many
    significant digits; a step or a copy at its lower bound is left out."""
    made = []
    for launch, step, slow, copy in figures.tolist():
        copies = copy > LOW[3] * 1.05
        made.append(
            Line(
                efficiency=min(1.0, _rounded(1.0 / slow, digits)),
                launch_s=_rounded(launch, digits),
                step_s=_rounded(step, digits) if step > LOW[1] * 2 else 0.0,
                copy_ratio=_rounded(1.0 / copy, digits) if copies else None,
            )
        )
    return tuple(made)


def solve(price: Callable[[Array], Array], seconds: Array, starts: Sequence[Array]) -> Array:
    """The figures, of the shape of the starts, whose price is nearest to `seconds` in the logarithm
    (soft L1); the best of the solutions from all starts."""
    low, high = np.array(LOW), np.array(HIGH)
    rows, target = len(starts[0]), np.log(seconds)
    bounds = (np.tile(np.log(low), rows), np.tile(np.log(high), rows))
    best: Any = None
    for start in starts:
        first = np.log(np.clip(start, low * 1.01, high * 0.99)).ravel()

        def errors(x: Array, first: Array = first) -> Array:
            price_s = price(np.exp(x).reshape(rows, -1))
            return np.concatenate([np.log(price_s) - target, START_WEIGHT * (x - first)])

        found = least_squares(
            errors, first, bounds=bounds, loss="soft_l1", f_scale=NEARLY, max_nfev=60
        )
        if best is None or found.cost < best.cost:
            best = found
    return np.asarray(np.exp(best.x).reshape(rows, -1), dtype=np.float64)


def as_yaml(tuning: Tuning) -> str:
    """What to write under `collectives` of a topology file for the lines of a tuning."""
    table: dict[str, Any] = {
        name: [_entry(line) for line in getattr(tuning, name)]
        for name in ("ring", "direct", "in_switch")
        if getattr(tuning, name)
    }
    if tuning.custom:
        table["custom"] = [
            {"engine": c.engine, "max_bytes": f"{c.max_bytes / 1024:g} KiB"}
            | {n: [_entry(line) for line in getattr(c, n)] for n in ("one_shot", "two_shot")}
            for c in tuning.custom
        ]
    return yaml.safe_dump(table, sort_keys=False, width=100, default_flow_style=None)


def _entry(line: Line) -> dict[str, Any]:
    entry: dict[str, Any] = {"launch_s": f"{line.launch_s * 1e6:g} us"}
    if line.step_s:
        entry["step_s"] = f"{line.step_s * 1e6:.3g} us"
    entry["efficiency"] = line.efficiency
    return entry | ({"copy_ratio": line.copy_ratio} if line.copy_ratio is not None else {})


def _rounded(value: float, digits: int) -> float:
    return float(f"{value:.{digits}g}")
