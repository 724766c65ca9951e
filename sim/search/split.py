"""How GPUs are best split between rollouts and trainer: the same loop, played with every split.

All splits use the same machine. Engines keep their layout and the trainer the layout of a replica;
their numbers change.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from sim.errors import ScenarioError
from sim.measure.summary import measure
from sim.record.run_folder import RunFolder
from sim.scenario.planning import Plan, plan
from sim.scenario.scenario import Scenario
from sim.scenario.simulation import simulate

MOST = 9
"""Splits that are tried where none are named."""


@dataclass(frozen=True, slots=True)
class Split:
    """So many engines, so many replicas of the trainer."""

    engines: int
    rollout_gpus: int
    dp: int
    trainer_gpus: int
    idle_gpus: int = 0
    """GPUs that neither has a use for."""

    def overrides(self, pool: str) -> list[str]:
        """As `--set`."""
        return [f"pools.{pool}.engines={self.engines}", f"rl.trainer.layout.dp={self.dp}"]


def splits(made: Plan, engines: Sequence[int] | None = None) -> list[Split]:
    """Splits of all GPUs of the scenario between its one pool and its trainer; all that go, up to
    `MOST` of them evenly spread, or those with the `engines` named.

    ScenarioError for a scenario without a loop, with more pools, with a colocated trainer, or where
    fewer than two splits go.
    """
    loop = made.loop
    if loop is None or loop.colocated or len(made.pools) != 1:
        raise ScenarioError(
            "sim split divides GPUs between one pool of engines and a trainer apart; give a "
            "scenario with an rl block, placement: apart and a single pool"
        )
    width = made.pools[0].spread.devices
    replica, total = loop.settings.trainer.layout.replica_gpus, made.gpus - loop.reward_gpus
    pairs = [(n, (total - n * width) // replica) for n in engines or ()]
    if engines is None:
        pairs = [((total - dp * replica) // width, dp) for dp in range(total // replica, 0, -1)]
    found = [
        Split(n, n * width, dp, dp * replica, total - n * width - dp * replica)
        for n, dp in pairs
        if min(n, dp) >= 1 and dp <= _samples(made) and _divides(made, dp)
    ]
    _check_named(engines, found, f"{total} GPUs of {width} an engine and {replica} a replica")
    if len(found) < 2:
        raise ScenarioError(
            f"sim split: {total} GPUs of {width} an engine and {replica} a trainer's replica give "
            f"{len(found)} splits; use more GPUs, smaller engines or a smaller replica"
        )
    if engines is None and len(found) > MOST:
        found = [found[round(i * (len(found) - 1) / (MOST - 1))] for i in range(MOST)]
    return found


def _check_named(engines: Sequence[int] | None, found: Sequence[Split], machine: str) -> None:
    """What the user named is played, or refused."""
    if engines is None:
        return
    left_out = sorted(set(engines) - {s.engines for s in found})
    if left_out:
        raise ScenarioError(
            f"--engines: {', '.join(map(str, left_out))} cannot be had from {machine}, whose "
            "number must also go with the samples of a mini-batch and with the experts; name "
            "others, or leave --engines out"
        )
    if len(found) < 2:
        raise ScenarioError(
            f"--engines: {', '.join(map(str, sorted(set(engines))))} is no choice; name two "
            "numbers or more, or leave --engines out"
        )


def _samples(made: Plan) -> int:
    rl = made.scenario.settings.rl
    if rl is None:
        return 0
    return rl.prompts_per_step * rl.samples_per_prompt // rl.trainer.mini_batches


def _divides(made: Plan, dp: int) -> bool:
    """Whether experts can be dealt to the devices of a stage with so many replicas."""
    rl = made.scenario.settings.rl
    if rl is None:
        return False
    layout = rl.trainer.layout
    if not layout.dispatches:
        return True
    return layout.tp * layout.cp * dp % (layout.ep * layout.expert_tp) == 0


def play_split(scenario: Scenario, pool: str, split: Split) -> dict[str, Any]:
    """One split played and measured: what `split.json` holds of it, or why it cannot be."""
    row: dict[str, Any] = {
        "engines": split.engines,
        "rollout_gpus": split.rollout_gpus,
        "trainer_dp": split.dp,
        "trainer_gpus": split.trainer_gpus,
        "idle_gpus": split.idle_gpus,
    }
    try:
        changed = with_split(scenario, pool, split)
        with TemporaryDirectory(prefix="sim-split-") as folder:
            run = RunFolder.create(Path(folder) / "run")
            outcome = simulate(plan(changed), run)
            if outcome.gave_up:
                return row | {"refused": outcome.gave_up}
            rl = measure(run)["rl"]
    except ScenarioError as refused:
        return row | {"refused": str(refused)}
    if not rl["steps"]:
        return row | {"refused": "no step was over when the run ended; raise until_s"}
    steady = rl["steady"]
    return row | {
        "step_s": steady["step_s"],
        "generation_s": steady["generation_s"],
        "train_s": steady["train_s"] + steady["logprob_s"] + steady["reference_s"],
        "wait_s": steady["wait_s"],
        "accepted_samples_per_s": steady["accepted_samples_per_s"],
        "staleness": steady["staleness"]["mean"],
        "rollout_idle_share": steady["rollout"]["idle_share"],
    }


def with_split(scenario: Scenario, pool: str, split: Split) -> Scenario:
    """The scenario with another split; single requests are not explained, only steps compared."""
    import yaml

    tree = yaml.safe_load(scenario.to_yaml())
    tree["record"] = (tree.get("record") or {}) | {"attribution": False}
    return Scenario.of(tree, split.overrides(pool), base=scenario.base)


def play_splits(
    scenario: Scenario, pool: str, found: Sequence[Split], workers: int
) -> Iterator[dict[str, Any]]:
    """All of them, in order, several at a time."""
    from joblib import Parallel, delayed

    pooled = Parallel(n_jobs=min(workers, len(found)), return_as="generator")
    yield from pooled(delayed(play_split)(scenario, pool, split) for split in found)


def best_of(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The split with most accepted samples per second. ScenarioError when none could be played."""
    played = [r for r in rows if "refused" not in r]
    if not played:
        raise ScenarioError(f"sim split: no split can be played; the first: {rows[0]['refused']}")
    return max(played, key=lambda r: float(r["accepted_samples_per_s"]))
