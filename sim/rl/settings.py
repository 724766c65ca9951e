"""The `rl:` block of a scenario."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from sim.perf.training import Recipe, TrainingLayout
from sim.perf.training.checkpoints import Checkpoints
from sim.perf.training.nics import Nics
from sim.perf.training.recoveries import ALONE, RecoverySetting
from sim.perf.training.recoveries.elastic import Elastic
from sim.perf.training.recoveries.restart import Restart
from sim.perf.training.recovery import Failures
from sim.perf.training.sleep import Sleep
from sim.perf.training.weight_sync import WeightSync
from sim.plugins import name_of, policy
from sim.rl.cadences import CadenceSetting
from sim.rl.cadences.synchronous import Synchronous
from sim.rl.environments import EnvironmentSetting
from sim.rl.environments.none import NoEnvironment
from sim.rl.filters import FilterSetting
from sim.rl.filters.none import NoFilter
from sim.rl.ignored import check_weight_sync
from sim.rl.rewards import RewardSetting
from sim.rl.rewards.none import NoReward
from sim.rl.samples import PLACES
from sim.settings import settings
from sim.units import Duration, PositiveInt
from sim.workload.lengths import Lengths

LengthsSetting = Annotated[Lengths, policy("sim.workload.lengths")]


@settings
class TrainerFailures(Failures):
    """Failures of the trainer's GPUs while they work, and the way out."""

    recovery: RecoverySetting = Restart()
    """What happens then."""


@settings
class TrainerSettings:
    """Who trains: its GPUs, how they share the model, and what is done with a batch."""

    layout: TrainingLayout
    """Degrees of parallelism; their product is the number of its GPUs."""
    placement: Literal["colocated", "apart"] = "apart"
    """On the rollout engines' GPUs, taking turns with them, or on GPUs of its own."""
    gpu: str | None = None
    """Which of the topology's GPUs, where it has several kinds and the trainer its own."""
    recipe: Recipe = Recipe(recompute="full", zero=1)
    """Its software: when left out, whole layers recomputed and optimiser states sharded."""
    micro_batch_tokens: PositiveInt = 32_768
    """Samples are packed into micro-batches of at most so many tokens; a longer sample is one of
    its own."""
    mini_batches: PositiveInt = 1
    """Optimiser steps that a step's samples are divided into."""
    epochs: PositiveInt = 1
    """Times that every sample is trained on."""
    sleep: Sleep = Sleep(weights=True)
    """What a colocated trainer takes off the GPUs while engines generate."""
    nics: Nics | None = None
    """Networks of the nodes, where they are of several kinds that do not speak to each other: what
    the trainer's collectives see. None: the topology's, everywhere."""
    by_network: bool = True
    """Whether stages and replicas are placed by kinds of networks (Holmes), or in order."""
    checkpoints: Checkpoints | None = None
    """How often its state is saved; None: never."""
    failures: TrainerFailures | None = None
    """How often its GPUs fail, and what then; None: never."""
    logprobs: bool = True
    """Whether log-probabilities under the policy are computed anew before training."""
    reference: bool = False
    """Whether log-probabilities under a frozen reference are computed (a KL penalty needs them)."""


@settings
class RlSettings:
    """A loop of rollouts and training."""

    steps: PositiveInt
    """Steps of the loop."""
    prompts_per_step: PositiveInt
    """Prompts whose samples one step trains on."""
    samples_per_prompt: Annotated[int, Field(ge=1, le=PLACES // 2)] = 8
    """Samples of every prompt: a group."""
    prompt_tokens: LengthsSetting
    """Law of the prompts' lengths."""
    response_tokens: LengthsSetting
    """Law of the answers' lengths, cut at the longest that is allowed."""
    prompt_correlation: Annotated[float, Field(ge=0, le=1)] = 0.0
    """How alike answers to one prompt are in length: the correlation, within a group, of the normal
    numbers that lengths are made from."""
    cadence: CadenceSetting = Synchronous()
    """Who waits for whom."""
    trainer: TrainerSettings
    """Who trains."""
    reward: RewardSetting = NoReward()
    """Who scores."""
    environment: EnvironmentSetting = NoEnvironment()
    """What happens between the turns of a sample."""
    filter: FilterSetting = NoFilter()
    """Which groups are trained on."""
    weight_sync: WeightSync = WeightSync()
    """How new weights reach the engines; not used by a colocated trainer, which reshards."""
    prepare_s: Duration = 0.0
    """Time of every step before training: data loading, advantages, batching."""

    def __post_init__(self) -> None:
        law = name_of(self.response_tokens)
        if self.prompt_correlation and law in ("constant", "empirical"):
            raise ValueError(
                f"prompt_correlation {self.prompt_correlation:g} has no effect on response_tokens "
                f"'{law}', which draws nothing or rows of a file; leave it out, or write another "
                "law"
            )
        samples = self.prompts_per_step * self.samples_per_prompt
        each, dp = samples // self.trainer.mini_batches, self.trainer.layout.dp
        if each < dp:
            raise ValueError(
                f"trainer.layout.dp {dp} replicas cannot share {samples} samples in "
                f"{self.trainer.mini_batches} mini-batches; write dp {max(1, each)} at most, or "
                "more samples a step"
            )
        failures = self.trainer.failures
        if failures is not None and isinstance(failures.recovery, Elastic) and dp == 1:
            raise ValueError(f"trainer.failures.{ALONE}")
        if self.trainer.placement == "colocated" and self.weight_sync != WeightSync():
            raise ValueError(
                "weight_sync has no effect with trainer.placement: colocated, where weights are "
                "resharded in place; leave it out, or write placement: apart"
            )
        check_weight_sync(self.weight_sync, self.trainer.layout)
        if self.trainer.nics is None and not self.trainer.by_network:
            raise ValueError(
                "trainer.by_network false has no effect without trainer.nics; leave it out, or "
                "name the nodes' networks"
            )
        if self.trainer.placement == "apart" and self.trainer.sleep != Sleep(weights=True):
            raise ValueError(
                "trainer.sleep has no effect with trainer.placement: apart, where the trainer "
                "keeps its GPUs; leave it out, or write placement: colocated"
            )
        if self.trainer.placement == "colocated" and self.trainer.gpu is not None:
            raise ValueError(
                f"trainer.gpu {self.trainer.gpu} has no effect with placement: colocated; leave it "
                "out, or write placement: apart"
            )
        factor = getattr(self.cadence, "samples_factor", 1.0)
        if factor * self.samples_per_prompt > PLACES:
            raise ValueError(
                f"cadence.{name_of(self.cadence)}.samples_factor {factor:g} makes more than "
                f"{PLACES} samples of a prompt; lower it, or samples_per_prompt"
            )
        self.cadence.check(self.trainer.placement == "colocated", self.weight_sync.pull)
