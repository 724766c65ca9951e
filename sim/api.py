"""`run(scenario)`: play, measure, and hand back the result. What the command line calls too."""

from __future__ import annotations

import gc
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from shutil import rmtree
from typing import Any

from sim.errors import BrokenInvariant, ScenarioError
from sim.measure.summary import measure
from sim.record.run_folder import RunFolder
from sim.scenario.planning import Plan, open_workload, plan
from sim.scenario.scenario import Scenario
from sim.scenario.simulation import Outcome, Progress, simulate


@dataclass(frozen=True, slots=True)
class Result:
    """A finished run."""

    folder: RunFolder
    summary: dict[str, Any]
    """As in `summary.json`."""
    partial: bool
    """Ended by Ctrl-C; what was played is there."""
    gave_up: str = ""
    """Why a loop of rollouts and training ended before its last step; what was played is there."""

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
    doing: Callable[[str], None] = lambda what: None,
) -> Result:
    """Play a scenario (or the file of one), write its run folder and measure it.

    `out` is the run folder; when left out, the next free `runs/NAME-NNN`. `doing` is told what
    follows the playing. Raises ScenarioError for what cannot be simulated; an earlier run in the
    folder is then as it was, and no new folder stays behind.
    """
    loaded = scenario if isinstance(scenario, Scenario) else Scenario.load(scenario, overrides)
    worked_out = plan(loaded)
    own = out is None or not Path(out).exists()
    path = next_folder(loaded.settings.name) if out is None else Path(out)
    outcome = _play(worked_out, path, own, progress)
    partial, gave_up = outcome.partial, outcome.gave_up
    del outcome
    gc.collect()  # the cluster is a knot of references; measuring wants its memory
    folder = RunFolder.open(path)
    doing("measuring")
    try:
        summary = measure(folder)
        if report:
            from sim.report.html import write_report

            doing("drawing the report")
            write_report(folder)
    except (BrokenInvariant, KeyboardInterrupt) as error:
        error.add_note(str(path))
        raise
    return Result(folder, summary, partial, gave_up)


def _play(worked_out: Plan, path: Path, own: bool, progress: Progress | None) -> Outcome:
    """Simulate into the folder, which is touched only when the workload could be opened. One that
    is our own is gone when nothing came of it."""
    try:
        source = open_workload(worked_out)
        folder = RunFolder.create(path)
        return simulate(worked_out, folder, progress, source)
    except (ScenarioError, KeyboardInterrupt):
        if own and path.is_dir():
            rmtree(path)
        raise
    except BrokenInvariant as broken:
        folder.write_text("scenario.yaml", worked_out.scenario.to_yaml())
        broken.add_note(str(path))
        raise


def next_folder(name: str) -> Path:
    """Make the first of `runs/NAME-001`, `-002`, … that is not there, also when others do the same
    at this moment. Raises ScenarioError when it cannot be made."""
    plain = re.sub(r"[^\w.+-]+", "-", name).strip(".-") or "run"
    number = 1
    while True:
        folder = Path("runs") / f"{plain}-{number:03}"
        try:
            folder.mkdir(parents=True)
        except FileExistsError:
            if not Path("runs").is_dir():
                raise ScenarioError(
                    "'runs' is not a folder, so no run can be written into it; name one with --out"
                ) from None
            number += 1
        except OSError as error:
            raise ScenarioError(
                f"the run folder '{folder}' cannot be made ({error.strerror}); "
                "name another with --out"
            ) from error
        else:
            return folder
