"""A loop worked out before time exists: the trainer's devices and prices, whether it fits, and how
weights move."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from sim.catalog.gpu import Gpu
from sim.catalog.model import Model
from sim.cluster.placements import Placement
from sim.errors import ScenarioError
from sim.network.topology import Topology
from sim.perf.training import Trainer, packed_batch, training_memory
from sim.perf.training import trainer as make_trainer
from sim.perf.training.batch import MicroBatch
from sim.perf.training.sync_plan import SyncPlan
from sim.plugins import name_of
from sim.rl.prompts import Ints, Prompts
from sim.rl.rewards import REWARD, Scorers
from sim.rl.samples import PLACES
from sim.rl.sent import Sent, sent
from sim.rl.settings import RlSettings
from sim.rl.told import of_law
from sim.rl.weights import Devices, Generating, reshards, synced
from sim.rng import Draws

ENVIRONMENT = "rl.environment"
"""Stream of the environment's draws."""


@dataclass(frozen=True, slots=True)
class RlPlan:
    """Everything about a loop that does not need time."""

    settings: RlSettings
    prompts: Prompts
    trainer: Trainer
    devices: Devices
    """The trainer's."""
    colocated: bool
    to_training: SyncPlan | None
    """Before a colocated trainer works."""
    to_engines: SyncPlan
    rollout_gpus: int
    topology: Topology
    scorers: Scorers | None = None
    """Engines of a model that scores."""
    sent: Sent | None = None
    """What a sync of a trainer apart carries."""

    @property
    def gpus(self) -> int:
        """GPUs beside those of the pools."""
        return (0 if self.colocated else len(self.devices)) + self.reward_gpus

    @property
    def reward_gpus(self) -> int:
        """Of them, those that score."""
        return 0 if self.scorers is None else self.scorers.gpus

    def facts(self) -> dict[str, object]:
        """For `run.json`."""
        s = self.settings
        return {
            "cadence": name_of(s.cadence),
            "steps": s.steps,
            "prompts_per_step": s.prompts_per_step,
            "samples_per_prompt": s.samples_per_prompt,
            "rollout_gpus": self.rollout_gpus,
            "trainer_gpus": len(self.devices),
            "trainer_devices": list(self.devices),
            "reward_gpus": self.reward_gpus,
            "trainer_layout": s.trainer.layout.text,
            "colocated": self.colocated,
            "epochs": s.trainer.epochs,
            "reward": _at_once(s.reward),
            "environment": _at_once(s.environment),
        }

    def preview(self) -> dict[str, object]:
        """What a step will be like before any is played: the first batch priced, weights alone on
        the wires."""
        s, t = self.settings, self.settings.trainer
        numbers = np.arange(s.prompts_per_step)
        answers = self.prompts.response_lengths(numbers)
        lengths = (self.prompts.prompt_lengths(numbers)[:, None] + answers).reshape(-1)
        most = max(t.micro_batch_tokens, int(lengths.max()))
        multiple = t.layout.pp if t.layout.schedule == "interleaved" else 1
        batch = packed_batch(lengths, most, t.layout.dp, multiple)
        step = self.trainer.plan(batch, check=False)
        return {
            "prompt_tokens_mean": float(self.prompts.prompt_lengths(numbers).mean()),
            "response_tokens_mean": float(answers.mean()),
            "response_tokens_max": int(answers.max()),
            "train_s": step.seconds * t.epochs,
            "logprob_s": self.trainer.forward_s(batch) * (t.logprobs + t.reference),
            "mfu": step.mfu,
            "weights_s": self.to_engines.alone_s(self.topology),
            "weights_bytes": self.to_engines.nbytes,
            "memory": {
                "weight_bytes": step.memory.weight_bytes,
                "gradient_bytes": step.memory.gradient_bytes,
                "optimizer_bytes": step.memory.optimizer_bytes,
                "activation_bytes": step.memory.activation_bytes,
                "reserve_bytes": step.memory.reserve_bytes,
                "total_bytes": step.memory.total_bytes,
                "gpu_bytes": step.memory.gpu_bytes,
            },
        }

    def assumptions(self) -> list[dict[str, str]]:
        """Guesses that the loop leans on."""
        s = self.settings
        rows = s.cadence.assumptions() + s.reward.assumptions()
        rows += s.environment.assumptions() + s.filter.assumptions()
        rows += s.weight_sync.assumptions(colocated=self.colocated)
        rows += [] if self.sent is None else self.sent.assumptions()
        if self.colocated:
            why = "assumed: engines give up weights and KV cache while it trains, at no cost"
            rows.append({"what": "colocated engines", "value": "", "source": why})
        if s.trainer.nics is not None:
            why = "assumed: weights to the engines travel at the topology's speeds all the same"
            rows.append({"what": "trainer.nics", "value": "", "source": why})
        why = "assumed: kernels of serving stand for a trainer's (docs/training.md)"
        return [*rows, {"what": "training step", "value": "", "source": why}]


def plan_loop(
    s: RlSettings,
    model: Model,
    topology: Topology,
    pools: Sequence[Generating],
    own: tuple[Gpu, Devices] | None,
    seed: int,
    base: Path | None,
    scorers: Scorers | None = None,
) -> RlPlan:
    """Work a loop out. `own` are the trainer's GPU and devices when it is apart.

    ScenarioError for a trainer that does not divide, does not fit, or has too few GPUs, and for
    samples that no engine could hold.
    """
    layout, shared = s.trainer.layout, tuple(d for p in pools for e in p.devices for d in e)
    colocated = own is None
    gpu, devices = own or (pools[0].gpu, shared)
    if layout.gpus > len(devices):
        raise ScenarioError(
            f"rl.trainer.layout: {layout.text} needs {layout.gpus} GPUs and the rollout pools that "
            f"it shares have {len(devices)}; lower dp, use more engines, or write placement: apart"
        )
    if colocated and len({p.gpu.name for p in pools}) > 1:
        raise ScenarioError(
            "rl.trainer.placement: colocated needs pools of one kind of GPU; write apart"
        )
    devices, nics = devices[: layout.gpus], s.trainer.nics
    if nics is not None and s.trainer.by_network:
        mine = frozenset(devices)
        devices = tuple(d for d in nics.together(topology) if d in mine)
    recipe = s.trainer.recipe
    made = make_trainer(model, gpu, topology, layout, recipe, devices=devices, nics=nics)
    block = min((p.block_tokens for p in pools), default=0)
    prompts = Prompts(
        s.prompt_tokens, s.response_tokens, s.samples_per_prompt, s.prompt_correlation, seed, base,
        block,
    )  # fmt: skip
    whole, scored = _lengths(s, prompts, seed)
    longest = int(whole.max())
    fullest = _fullest(s, whole)
    _check_contexts(pools, longest)
    if scorers is not None:
        _check_scorers(whole, scored, scorers)
    _check_memory(s, made, model, gpu, fullest)
    to_training: SyncPlan | None = None
    what: Sent | None = None
    if colocated:
        to_training, to_engines = reshards(s, made, topology, pools, devices, fullest)
    else:
        what = sent(recipe, model, [p.draft_params for p in pools])
        to_engines = synced(s, what, gpu, topology, pools, devices)
    moves = (to_training, to_engines)
    return RlPlan(
        s, prompts, made, devices, colocated, *moves, len(shared), topology, scorers, what
    )


def place_trainer(
    s: RlSettings, topology: Topology, placement: Placement, taken: Sequence[int], gpu: str
) -> Devices:
    """Devices of a trainer apart, behind those of the pools."""
    used = set(taken)
    free = [d for d in topology.devices if d.index not in used and d.gpu == gpu]
    wanted = s.trainer.layout.gpus
    chosen = placement.pick(free, wanted) if free else None
    if chosen is None:
        raise ScenarioError(
            f"rl.trainer.layout: {s.trainer.layout.text} needs {wanted} {gpu} GPUs beside the "
            f"{len(used)} of the pools, and topology '{topology.name}' has {len(free)} left; set "
            "topology.nodes higher, lower dp, or write placement: colocated"
        )
    return tuple(d.index for d in chosen)


def _at_once(who: object) -> dict[str, object]:
    """Who scores, or what happens between turns, and how many work at once where that is limited,
    under the name of the setting."""
    limits = {name: getattr(who, name, None) for name in ("workers", "engines")}
    return {"name": name_of(who)} | {name: n for name, n in limits.items() if n is not None}


def _fullest(s: RlSettings, whole: Ints) -> int:
    """Tokens of the fullest micro-batch: at most a replica's share of a batch, and one sample
    more."""
    t, longest = s.trainer, int(whole.max())
    share = int(whole.reshape(s.steps, -1).sum(axis=1).max()) // (t.mini_batches * t.layout.dp)
    return max(longest, min(t.micro_batch_tokens, share + longest))


def _lengths(s: RlSettings, prompts: Prompts, seed: int) -> tuple[Ints, Ints]:
    """(prompts, samples) tokens of the samples of the loop's batches, tools' answers included; and
    with what a model that scores reads and writes beside them."""
    numbers = np.arange(s.steps * s.prompts_per_step)
    with of_law("rl.prompt_tokens"):
        asked = prompts.prompt_lengths(numbers)[:, None]
    with of_law("rl.response_tokens"):
        answers = prompts.response_lengths(numbers)
    samples = numbers[:, None] * PLACES + np.arange(answers.shape[1])
    with of_law("rl.environment"):
        draws = Draws(seed, ENVIRONMENT)
        whole = asked + answers + s.environment.added_tokens(draws, samples, answers, prompts.base)
    served = s.reward.served
    if served is None:
        return whole, whole
    with of_law("rl.reward.model.output_tokens"):
        beside = served.added_tokens(Draws(seed, REWARD), samples, prompts.base)
    return whole, whole + beside


def _check_scorers(whole: Ints, scored: Ints, scorers: Scorers) -> None:
    at = np.unravel_index(int(scored.argmax()), scored.shape)
    most, sample = int(scored[at]), int(whole[at])
    if most > scorers.longest_tokens:
        beside = f" and {most - sample:,} of instructions and judgement" if most > sample else ""
        lower = ", or instruction_tokens or output_tokens" if beside else ""
        raise ScenarioError(
            f"rl.reward.model: a sample has {sample:,} tokens{beside}, and a scorer reads "
            f"{scorers.longest_tokens:,} at most; set max_tokens of the laws of lengths{lower} "
            "lower, or use a model with more context or a layout with more room"
        )


def _check_contexts(pools: Sequence[Generating], longest: int) -> None:
    for pool in pools:
        if pool.longest_tokens < longest:
            raise ScenarioError(
                f"rl: the longest sample has {longest:,} tokens and pool '{pool.name}' serves "
                f"{pool.longest_tokens:,}; set max_tokens of prompt_tokens and response_tokens "
                "lower, or use a model with more context or engines with more room"
            )


def _check_memory(s: RlSettings, made: Trainer, model: Model, gpu: Gpu, fullest: int) -> None:
    """The fullest micro-batch fits beside weights and states."""
    layout = s.trainer.layout
    micro = MicroBatch((fullest,))
    memory = training_memory(
        model, layout, s.trainer.recipe, gpu, micro, 4 * layout.pp, made.stages
    )
    memory.check(layout, model, gpu)
