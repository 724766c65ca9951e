"""The tables of a reinforcement-learning loop as arrays."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sim.measure.ledger import Floats
from sim.record.log import Columns
from sim.record.run_folder import RunFolder
from sim.record.tables import SAMPLE_STATES

TRAINED, FILTERED, STALE, ABORTED, IN_FLIGHT = range(len(SAMPLE_STATES))

STEP_PARTS = (
    "wait_s", "prepare_s", "reshard_s", "logprob_s", "reference_s", "train_s", "checkpoint_s",
    "recovery_s", "sync_s",
)  # fmt: skip
"""Columns of `rl_steps` that sum to the step's duration."""

WAITS = ("exposed_generation_s", "exposed_reward_s")
"""Columns that are part of `wait_s`."""

SAMPLE_COLUMNS = (
    "sample", "request", "response_tokens", "submitted_s", "generated_s", "scored_s", "state",
    "step", "uses", "first_version", "last_version", "staleness", "staleness_max",
    "tools_s", "tools_wait_s", "reward_s", "reward_wait_s",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Loop:
    """One loop: what it is (`rl` of run.json), its steps in order, its phases and its samples."""

    facts: dict[str, Any]
    steps: Columns
    phases: Columns
    samples: Columns

    @classmethod
    def read(cls, run: RunFolder, *samples: str, phases: bool = True) -> Loop | None:
        """The loop of a run, with some columns of its samples (those that are measured, when none
        is named); None for a run without one."""
        facts = run.facts.get("rl")
        if not facts:
            return None
        steps = run.columns("rl_steps")
        order = np.argsort(steps["step"], kind="stable")
        return cls(
            dict(facts),
            {name: values[order] for name, values in steps.items()},
            run.columns("rl_phases") if phases else {},
            run.columns("samples", *(samples or SAMPLE_COLUMNS)),
        )

    def __len__(self) -> int:
        return len(self.steps["step"])

    @property
    def start_s(self) -> float:
        return float(self.steps["start_s"][0]) if len(self) else 0.0

    @property
    def end_s(self) -> float:
        """End of its last complete step."""
        return float(self.steps["end_s"][-1]) if len(self) else 0.0

    @property
    def step_s(self) -> Floats:
        """Duration of each step."""
        return np.asarray(self.steps["end_s"] - self.steps["start_s"])

    @property
    def other_wait_s(self) -> Floats:
        """Waiting of each step that is neither for tokens nor for rewards alone."""
        return np.asarray(np.maximum(self.steps["wait_s"] - sum(self.steps[w] for w in WAITS), 0.0))

    @property
    def at_work_s(self) -> Floats:
        """Seconds of each step in which the trainer does not wait."""
        return np.asarray(self.step_s - self.steps["wait_s"])

    @property
    def trained(self) -> NDArray[np.bool_]:
        """Which samples were trained on."""
        return np.asarray(self.samples["state"] == TRAINED)

    @property
    def gpus(self) -> dict[str, int]:
        """GPUs of the rollouts, of the trainer (the same ones where they take turns), of a model
        that scores, and all."""
        rollout, trainer = int(self.facts["rollout_gpus"]), int(self.facts["trainer_gpus"])
        reward = int(self.facts.get("reward_gpus", 0))
        policy = max(rollout, trainer) if self.facts["colocated"] else rollout + trainer
        return {"rollout": rollout, "trainer": trainer, "reward": reward, "total": policy + reward}

    @property
    def trainer_busy_s(self) -> float:
        """Time in which the trainer did not wait."""
        return float((self.step_s - self.steps["wait_s"]).sum())

    @property
    def warm_up(self) -> int:
        """First steps that are not like the rest: one, and as many more as the weights are old that
        samples come from (the loop cannot train on older ones before), at most half of all."""
        lag = self.steps["staleness"]
        lag = lag[~np.isnan(lag)]
        most = int(np.ceil(lag.max() - 1e-9)) if len(lag) else 0
        return min(1 + most, len(self) // 2)
