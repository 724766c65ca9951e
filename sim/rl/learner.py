"""The trainer at work: a step's samples priced, its phases played on the clock."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sim.perf.training import Batch, Trainer, packed_batch
from sim.rl.books import LOGPROB, PREPARE, REFERENCE, TRAIN, Books, Worked
from sim.rl.cadences import Steps
from sim.rl.samples import Group, Sample
from sim.rl.settings import TrainerSettings
from sim.rl.weight_sync import Mover


@dataclass(eq=False, slots=True)
class Learner:
    """Works through a step's phases, one after the other."""

    settings: TrainerSettings
    trainer: Trainer
    prepare_s: float
    books: Books
    mover: Mover

    def work(self, groups: Sequence[Group]) -> Steps:
        """Prepare, log-probabilities, training; every sample has its uses counted."""
        samples = [s for g in groups for s in g.kept]
        yield from self._spend(PREPARE, self.prepare_s)
        whole = self._batch(samples)
        asked = ((LOGPROB, self.settings.logprobs), (REFERENCE, self.settings.reference))
        if any(wanted for _, wanted in asked):
            forward_s = self.trainer.forward_s(whole)
            for phase, wanted in asked:
                yield from self._spend(phase, forward_s if wanted else 0.0)
        train_s, worked = self._priced(samples, whole)
        self.books.worked = worked
        yield from self._spend(TRAIN, train_s)
        for sample in samples:
            sample.uses += self.settings.epochs
            sample.step_now = self.books.rows

    def _spend(self, phase: int, seconds: float) -> Steps:
        yield from self.mover.wait(seconds)
        self.books.spend(phase)

    def _priced(self, samples: list[Sample], whole: Batch) -> tuple[float, Worked]:
        """(seconds, what the GPUs did): mini-batches in order of the samples, each an optimiser
        step, all of them once an epoch."""
        parts = self.settings.mini_batches
        edges = [i * len(samples) // parts for i in range(parts + 1)]
        total = bubble = flops = 0.0
        for i in range(parts):
            batch = whole if parts == 1 else self._batch(samples[edges[i] : edges[i + 1]])
            step = self.trainer.plan(batch, check=False)
            total += step.seconds
            bubble += step.bubble * step.seconds
            flops += step.mfu * step.seconds
        return total * self.settings.epochs, Worked(bubble / total, flops / total)

    def _batch(self, samples: list[Sample]) -> Batch:
        lengths = [s.tokens for s in samples]
        layout = self.settings.layout
        longest = max(lengths)
        most = max(self.settings.micro_batch_tokens, longest)
        multiple = layout.pp if layout.schedule == "interleaved" else 1
        return packed_batch(lengths, most, layout.dp, multiple)
