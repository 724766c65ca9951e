"""`run(scenario)`: play, measure, and hand back the result. What the command line calls too."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sim.measure import measure
from sim.record.run_folder import RunFolder
from sim.scenario.build import plan
from sim.scenario.scenario import Scenario
from sim.scenario.simulation import Progress, simulate


@dataclass(frozen=True, slots=True)
class Result:
    """A finished run."""

    folder: RunFolder
    summary: dict[str, Any]
    """As in `summary.json`."""
    partial: bool
    """Ended by Ctrl-C; what was played is there."""

    def table(self, name: str) -> Any:
        """A table of the run as a pandas DataFrame: `requests`, `steps`, `transfers`, …"""
        return self.folder.table(name).to_pandas()


def run(
    scenario: Scenario | Path | str,
    *,
    out: Path | str | None = None,
    overrides: Iterable[str] = (),
    progress: Progress | None = None,
    report: bool = False,
) -> Result:
    """Play a scenario (or the file of one), write its run folder and measure it.

    `out` is the run folder; when left out, the next free `runs/NAME-NNN`. Raises ScenarioError
    for what cannot be simulated, before anything is written.
    """
    loaded = scenario if isinstance(scenario, Scenario) else Scenario.load(scenario, overrides)
    worked_out = plan(loaded)
    folder = RunFolder.create(out or next_folder(loaded.settings.name))
    outcome = simulate(worked_out, folder, progress)
    summary = measure(folder)
    if report:
        from sim.report import write_report

        write_report(folder)
    return Result(folder, summary, outcome.partial)


def next_folder(name: str) -> Path:
    """The first of `runs/NAME-001`, `-002`, … that is not there."""
    number = 1
    while (folder := Path("runs") / f"{name}-{number:03}").exists():
        number += 1
    return folder
