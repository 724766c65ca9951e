"""Playing the scenarios of this experiment: a run is a file and what is changed in it."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sim.api import run as simulate
from sim.scenario.scenario import Scenario

SCENARIOS = Path(__file__).resolve().parent / "scenarios"


@dataclass(frozen=True, slots=True)
class Run:
    """A scenario of this folder with changes."""

    scenario: str
    """A file of `scenarios/`, without its ending."""
    changes: tuple[str, ...] = ()
    """As after `--set`."""
    warm_up: int = 0
    """First steps that are left out of the means."""

    def but(self, *changes: str, warm_up: int | None = None) -> Run:
        """The same with more changes."""
        left_out = self.warm_up if warm_up is None else warm_up
        return Run(self.scenario, (*self.changes, *changes), left_out)

    @property
    def command(self) -> str:
        """What plays it by hand."""
        sets = "".join(f" --set '{c}'" for c in self.changes)
        return f"sim run experiments/004-rl-loops/scenarios/{self.scenario}.yaml{sets}"


@dataclass(frozen=True, slots=True)
class Played:
    """Means over the steps of a loop that are counted."""

    step_s: float
    """From the end of one step to the end of the next."""
    means: dict[str, float]
    """Columns of `rl_steps`."""
    summary: dict[str, Any]

    def __getitem__(self, column: str) -> float:
        return self.means[column]

    @property
    def logprob_s(self) -> float:
        """Log-probabilities under policy and reference."""
        return self.means["logprob_s"] + self.means["reference_s"]

    @property
    def tokens(self) -> float:
        """Prompts and responses that a step trains on."""
        return self.means["prompt_tokens"] + self.means["response_tokens"]

    def share(self, column: str) -> float:
        """Of the step, in per cent."""
        return 100.0 * self.means[column] / self.step_s


def play(run: Run) -> Played:
    """One run in a folder that is thrown away."""
    scenario = Scenario.load(SCENARIOS / f"{run.scenario}.yaml", run.changes)
    with tempfile.TemporaryDirectory() as folder:
        result = simulate(scenario, out=Path(folder) / "run")
        steps = result.table("rl_steps")
        kept = steps.iloc[run.warm_up :]
        spent = float(kept["end_s"].iloc[-1] - kept["start_s"].iloc[0])
        means = {str(c): float(kept[c].mean()) for c in kept.columns}
        return Played(spent / len(kept), means, result.summary)


def play_all(runs: Iterable[Run], workers: int = 2) -> Iterator[tuple[Run, Played]]:
    """All of them, as they end."""
    todo = list(dict.fromkeys(runs))
    with ProcessPoolExecutor(workers) as pool:
        begun = {pool.submit(play, run): run for run in todo}
        for done in as_completed(begun):
            yield begun[done], done.result()
