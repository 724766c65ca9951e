"""The trainer at work: a step's samples priced, its phases played on the clock.

Gradients and weights that replicas exchange are flows on the fabric: alone they end when the step's
own pricing says, beside other traffic later.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from sim.perf.training import Batch, Trainer, TrainingStep, packed_batch
from sim.perf.training.traffic import step_traffic
from sim.rl.books import LOGPROB, PREPARE, REFERENCE, TRAIN, Books, Worked
from sim.rl.cadences import Steps
from sim.rl.samples import Group, Sample
from sim.rl.settings import TrainerSettings
from sim.rl.upkeep import Upkeep
from sim.rl.weight_sync import Mover
from sim.rl.weights import Devices


@dataclass(eq=False, slots=True)
class Learner:
    """Works through a step's phases, one after the other."""

    settings: TrainerSettings
    trainer: Trainer
    devices: Devices
    prepare_s: float
    books: Books
    mover: Mover
    upkeep: Upkeep

    def work(self, groups: Sequence[Group]) -> Steps:
        """Prepare, log-probabilities, training, checkpoints."""
        samples = [s for g in groups for s in g.kept]
        yield from self._spend(PREPARE, self.prepare_s)
        whole = self._batch(samples)
        asked = ((LOGPROB, self.settings.logprobs), (REFERENCE, self.settings.reference))
        if any(wanted for _, wanted in asked):
            forward_s = self.trainer.forward_s(whole) / self.upkeep.speed
            for phase, wanted in asked:
                yield from self._spend(phase, forward_s if wanted else 0.0)
        steps = self._priced(samples, whole)
        began = self.books.clock.now
        for _ in range(self.settings.epochs):
            for step in steps:
                yield from self._optimise(step, len(whole.replicas[0]))
                yield from self.mover.wait(self.upkeep.overhead_s(step))
        self.books.spend(TRAIN)
        self.books.worked = _worked(steps, self.settings.epochs, self.books.clock.now - began)
        updates = self.settings.epochs * len(steps)
        computed = self.settings.epochs * sum(s.pipeline_s for s in steps)
        yield from self.upkeep.after(updates, self.books.clock.now - began, computed)

    def _spend(self, phase: int, seconds: float) -> Steps:
        yield from self.mover.wait(seconds)
        self.books.spend(phase)

    def _optimise(self, step: TrainingStep, micro_batches: int) -> Steps:
        """One optimiser step: the pipeline, its exchanges beside and behind it, the update."""
        speed, mover = self.upkeep.speed, self.mover
        traffic = step_traffic(self.trainer, mover.topology, self.devices, micro_batches)
        if not traffic.transfers:
            yield from mover.wait(step.seconds / speed)
            return
        begins = traffic.begins_s(step)
        behind = step.pipeline_s + step.gradients_s + step.weights_s
        seconds = behind - begins
        yield from mover.wait(begins / speed)
        exchanged = mover.clock.process(mover.send((traffic.transfers,), within_s=seconds))
        yield from mover.wait((step.pipeline_s - begins) / speed)
        yield exchanged
        yield from mover.wait(step.optimizer_s / speed)

    def _priced(self, samples: list[Sample], whole: Batch) -> list[TrainingStep]:
        """Mini-batches in order of the samples, each an optimiser step."""
        parts = self.settings.mini_batches
        edges = [i * len(samples) // parts for i in range(parts + 1)]
        batches = [
            whole if parts == 1 else self._batch(samples[edges[i] : edges[i + 1]])
            for i in range(parts)
        ]
        return [self.trainer.plan(batch, check=False) for batch in batches]

    def _batch(self, samples: list[Sample]) -> Batch:
        lengths = np.array([s.tokens for s in samples])
        layout = self.settings.layout
        most = max(self.settings.micro_batch_tokens, int(lengths.max()))
        multiple = layout.pp if layout.schedule == "interleaved" else 1
        return packed_batch(lengths, most, layout.dp, multiple)


def _worked(steps: list[TrainingStep], epochs: int, seconds: float) -> Worked:
    """Bubble by time of the pipeline, model operations by the whole time."""
    pipeline = sum(s.pipeline_s for s in steps)
    bubble = sum(s.bubble * s.pipeline_s for s in steps) / pipeline
    done = epochs * sum(s.mfu * s.seconds for s in steps)
    return Worked(max(0.0, bubble), done / seconds if seconds else 0.0)
