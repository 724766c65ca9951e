"""Playing the scenarios of this experiment: a run is a file and what is changed in it.

What is kept of a run is a line of `runs.csv`, from which all rows can be made again.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import chdir
from dataclasses import dataclass
from pathlib import Path

from sim.api import run as simulate
from sim.scenario.scenario import Scenario

SCENARIOS = Path(__file__).resolve().parent / "scenarios"
ROOT = SCENARIOS.parents[2]


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


KEPT = (
    "generation_s", "exposed_generation_s", "exposed_reward_s", "wait_s", "prepare_s", "reshard_s",
    "logprob_s", "reference_s", "train_s", "sync_s", "prompt_tokens", "response_tokens",
    "longest_tokens", "staleness", "staleness_max", "mfu", "bubble",
)  # fmt: skip
"""Columns of `rl_steps` whose means are kept."""


@dataclass(frozen=True, slots=True)
class Played:
    """Means over the steps of a loop that are counted, to six digits."""

    step_s: float
    """From the end of one step to the end of the next."""
    speedup: float
    """Verify steps over plain ones, per token, as the summary has it; 1 without speculation."""
    means: dict[str, float]
    """Columns of `rl_steps`."""

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

    def cells(self) -> dict[str, str]:
        """For CSV."""
        every = {"step_s": self.step_s, "speedup": self.speedup} | self.means
        return {name: f"{value:.6g}" for name, value in every.items()}

    @classmethod
    def of(cls, cells: Mapping[str, str]) -> Played:
        """From a line of the CSV file."""
        means = {name: float(cells[name]) for name in KEPT}
        return cls(float(cells["step_s"]), float(cells["speedup"]), means)


def play(run: Run) -> Played:
    """One run in a folder that is thrown away."""
    with chdir(ROOT), tempfile.TemporaryDirectory() as folder:
        scenario = Scenario.load(SCENARIOS / f"{run.scenario}.yaml", run.changes)
        result = simulate(scenario, out=Path(folder) / "run")
        steps = result.table("rl_steps")
        kept = steps.iloc[run.warm_up :]
        spent = float(kept["end_s"].iloc[-1] - kept["start_s"].iloc[0])
        means = {name: float(kept[name].mean()) for name in KEPT}
        speedup = result.summary.get("speculation", {}).get("speedup_over_plain", 1.0)
        exact = Played(spent / len(kept), float(speedup), means)
        return Played.of(exact.cells())


def play_all(runs: Iterable[Run], workers: int = 2) -> Iterator[tuple[Run, Played]]:
    """All of them, as they end."""
    todo = list(dict.fromkeys(runs))
    with ProcessPoolExecutor(workers) as pool:
        begun = {pool.submit(play, run): run for run in todo}
        for done in as_completed(begun):
            yield begun[done], done.result()
