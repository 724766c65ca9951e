"""A reward model or a judge on GPUs of its own.

A reward model reads prompt and response once and gives a number; a judge reads them and writes
`output_tokens`. Samples wait in one line for all engines; each engine prefills up to a budget of
tokens a pass, beside the judgements that it is writing.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator
from dataclasses import dataclass, field
from typing import Annotated

import numpy as np
from pydantic import Field
from simpy.events import Event

from sim.clock import STEP_END, Clock
from sim.engine.settings import EngineSettings
from sim.errors import BrokenInvariant
from sim.perf.layouts import Layout
from sim.perf.layouts.single import Single
from sim.perf.shape import StepShape
from sim.perf.step_timer import StepTimer
from sim.perf.task import Precision
from sim.perf.timers import Timer
from sim.perf.timers.calibrated import Calibrated
from sim.plugins import policy
from sim.rl.durations import BySample
from sim.rl.rewards import RewardServices, Served
from sim.rl.samples import Sample
from sim.settings import settings
from sim.units import NonNegativeInt, PositiveInt
from sim.workload.lengths import Lengths

AFTER_ENGINES = 1 << 30
"""Place of a scorer's passes among those that end at one instant."""


@settings
class ScoringModel:
    """Which model, on what."""

    model: str
    """A model of the catalog, or the path of a Hugging Face config.json."""
    engines: PositiveInt = 1
    """Replicas."""
    gpu: str | None = None
    """Which of the topology's GPUs, where it has several kinds."""
    layout: Annotated[Layout, policy("sim.perf.layouts")] = Single()
    """How the model is spread over the GPUs of one engine."""
    precision: Precision = Precision()
    """Number formats."""
    timer: Annotated[Timer, policy("sim.perf.timers")] = Calibrated()
    """Where the times of passes come from."""
    max_num_batched_tokens: PositiveInt = 16_384
    """Most tokens in one pass of an engine. assumed: a long batch, nobody waits for first tokens.
    """
    max_num_seqs: PositiveInt = 256
    """Most samples that one engine works on at once."""
    gpu_memory_utilization: Annotated[float, Field(gt=0, le=1)] = 0.9
    """Share of GPU memory that an engine may use."""
    instruction_tokens: NonNegativeInt = 0
    """Tokens that the scorer reads beside prompt and response: a rubric, a reference answer."""
    output_tokens: Annotated[Lengths, policy("sim.workload.lengths")] | None = None
    """Law of the tokens that a judge writes; a reward model writes none."""

    @property
    def served(self) -> Served:
        """As the plan asks for it."""
        engine = EngineSettings(
            max_num_seqs=self.max_num_seqs,
            max_num_batched_tokens=self.max_num_batched_tokens,
            gpu_memory_utilization=self.gpu_memory_utilization,
            enable_prefix_caching=False,
        )
        return Served(
            self.model, self.engines, self.gpu, self.layout, self.precision, self.timer, engine,
            self.instruction_tokens, self.output_tokens,
        )  # fmt: skip

    def start(self, services: RewardServices) -> _Scoring:
        """All engines idle."""
        return _Scoring(self, services)

    def assumptions(self) -> list[dict[str, str]]:
        """That engines of scorers have one pass in flight."""
        why = "assumed: one pass in flight, mean expert load, no prefix shared between samples"
        return [{"what": "scoring model", "value": self.model, "source": why}]


@dataclass(eq=False, slots=True)
class _Job:
    sample: Sample
    done: Callable[[Sample, bool], None]
    prompt: int
    """Tokens to read."""
    output: int
    """Tokens to write."""
    asked_s: float
    read: int = 0
    written: int = 0


class _Scoring:
    """The line, and the engines that take from it."""

    def __init__(self, settings: ScoringModel, services: RewardServices) -> None:
        scorers, law = services.scorers, settings.output_tokens
        if scorers is None:
            raise BrokenInvariant(f"scoring model {settings.model} was not placed")
        self._settings, self._clock = settings, services.clock
        self._longest = scorers.longest_tokens
        self._output = BySample(lambda who, index: np.zeros(who.shape))
        if law is not None:
            draws = services.draws
            self._output = BySample(
                lambda who, index: (
                    law.sample(draws, who.reshape(-1), services.base)
                    .reshape(who.shape)
                    .astype(float)
                )
            )
        self.line: deque[_Job] = deque()
        compiled = {id(task): scorers.timer.compile(task) for task in scorers.tasks}
        self._engines = [
            _Scorer(i, services.clock, compiled[id(task)], settings, scorers.kv_tokens, self.line)
            for i, task in enumerate(scorers.tasks)
        ]
        for engine in self._engines:
            services.clock.process(engine.serve())

    def score(self, sample: Sample, done: Callable[[Sample, bool], None]) -> None:
        prompt = sample.tokens + self._settings.instruction_tokens
        output = int(self._output.of(sample))
        self.line.append(_Job(sample, done, prompt, output, self._clock.now))
        for engine in self._engines:
            engine.poke()


@dataclass(eq=False, slots=True)
class _Scorer:
    """One engine: passes one after the other while there is work."""

    number: int
    clock: Clock
    timer: StepTimer
    settings: ScoringModel
    kv_tokens: int
    line: deque[_Job]
    reading: deque[_Job] = field(default_factory=deque)
    writing: list[_Job] = field(default_factory=list)
    _kept: int = 0
    """Tokens of the KV pool that are promised."""
    _wake: Event | None = None

    def poke(self) -> None:
        """There is work."""
        if self._wake is not None:
            wake, self._wake = self._wake, None
            wake.succeed()

    def serve(self) -> Generator[Event, None, None]:
        """For ever."""
        while True:
            shape, chunks = self._next()
            if not shape.tokens:
                self._wake = self.clock.event()
                yield self._wake
                continue
            order = STEP_END + AFTER_ENGINES + self.number
            yield self.clock.at(self.clock.now + self.timer.price([shape]), order)
            self._commit(chunks)

    def _next(self) -> tuple[StepShape, list[tuple[_Job, int]]]:
        """The next pass: all who write, and prompts up to the budget."""
        shape, chunks, caps = StepShape(), list[tuple[_Job, int]](), self.timer.caps
        shape.decodes = shape.sampled = len(self.writing)
        for job in self.writing:
            context = job.prompt + job.written + 1
            shape.context_tokens += context
            for i, cap in enumerate(caps):
                shape.capped_tokens[i] += min(context, cap)
                shape.below[i] += context < cap
        budget = self.settings.max_num_batched_tokens - len(self.writing)
        for job in self.reading:
            budget -= self._read(shape, chunks, job, budget)
        while budget > 0 and self.line and self._has_room(self.line[0]):
            job = self.line.popleft()
            job.sample.reward_wait_s = self.clock.now - job.asked_s
            self._kept += job.prompt + job.output
            self.reading.append(job)
            budget -= self._read(shape, chunks, job, budget)
        return shape, chunks

    def _read(
        self, shape: StepShape, chunks: list[tuple[_Job, int]], job: _Job, budget: int
    ) -> int:
        tokens = min(budget, job.prompt - job.read)
        if tokens > 0:
            last = job.read + tokens == job.prompt and job.output > 0
            shape.add_prompt(job.read, tokens, self.timer.caps, last=last)
            chunks.append((job, tokens))
        return max(tokens, 0)

    def _has_room(self, job: _Job) -> bool:
        """One alone always has: its length was checked."""
        many = len(self.reading) + len(self.writing)
        fits = self._kept + job.prompt + job.output <= self.kv_tokens
        return many == 0 or (fits and many < self.settings.max_num_seqs)

    def _commit(self, chunks: list[tuple[_Job, int]]) -> None:
        ended = []
        for job in self.writing:
            job.written += 1
            if job.written == job.output:
                ended.append(job)
        self.writing = [job for job in self.writing if job.written < job.output]
        for job, tokens in chunks:
            job.read += tokens
            if job.read == job.prompt:
                self.reading.remove(job)
                job.written = min(1, job.output)
                (ended if job.written == job.output else self.writing).append(job)
        for job in ended:
            self._kept -= job.prompt + job.output
            job.done(job.sample, True)
