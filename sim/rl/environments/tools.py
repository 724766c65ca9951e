"""Tools between turns: the policy answers, a tool runs, its answer is put behind everything, and
the policy goes on. The next turn's prompt is all that was before, which the engine's prefix cache
may still hold.

A sample's tokens are divided evenly over its turns, so that what it generates in all does not
depend on its tools.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import numpy as np
from numpy.typing import NDArray

from sim.plugins import policy
from sim.rl.durations import BySample, DurationsSetting
from sim.rl.environments import EnvironmentServices, Turn
from sim.rl.samples import Sample
from sim.rl.workers import Workers
from sim.rng import Draws
from sim.settings import settings
from sim.units import Duration, PositiveInt
from sim.workload.lengths import Lengths

LengthsSetting = Annotated[Lengths, policy("sim.workload.lengths")]
Ints = NDArray[np.int64]


@settings
class Tools:
    """Turns, and calls between them."""

    turns: LengthsSetting
    """Law of the number of answers of a sample (`tokens` of a law of lengths are turns here)."""
    answer_tokens: LengthsSetting
    """Law of the tokens of a tool's answer."""
    seconds: DurationsSetting
    """Of one call."""
    workers: PositiveInt | None = None
    """Calls that run at once; all when left out."""
    timeout_s: Duration | None = None
    """A call that takes longer is ended, and answers all the same."""

    def start(self, services: EnvironmentServices) -> _Tools:
        """Nobody has called yet."""
        draws, base = services.draws, services.base
        workers = Workers(services.clock, self.workers)
        return _Tools(self, services, _Plans(self, draws, base), self.seconds.drawn(draws), workers)

    def assumptions(self) -> list[dict[str, str]]:
        """How a sample's tokens are divided."""
        why = "assumed: a sample's tokens are divided evenly over its turns"
        return [{"what": "tokens of a turn", "value": "", "source": why}]

    def added_tokens(
        self, draws: Draws, samples: Ints, response_tokens: Ints, base: Path | None
    ) -> Ints:
        """Tokens that tools add to samples (by their numbers for draws), in all."""
        plans = _Plans(self, draws, base)
        turns = np.minimum(plans.turns(samples), response_tokens)
        total = np.zeros_like(samples)
        for call in range(1, int(turns.max(initial=1))):
            more = turns > call
            total[more] += plans.answers(samples[more], call)
        return total


@dataclass(frozen=True, slots=True)
class _Plans:
    """What tools will do, as functions of samples' numbers for draws."""

    settings: Tools
    draws: Draws
    base: Path | None

    def turns(self, samples: Ints) -> Ints:
        """Turns, at most; a turn has a token at least."""
        return self._sample(self.settings.turns, "turns", samples)

    def answers(self, samples: Ints, call: int) -> Ints:
        """Tokens of the `call`-th tool answers."""
        return self._sample(self.settings.answer_tokens, f"answer.{call}", samples)

    def _sample(self, law: Lengths, what: str, samples: Ints) -> Ints:
        stream = Draws(self.draws.seed, f"{self.draws.stream}.{what}")
        return law.sample(stream, samples.reshape(-1), self.base).reshape(samples.shape)


@dataclass(eq=False, slots=True)
class _Tools:
    settings: Tools
    services: EnvironmentServices
    plans: _Plans
    seconds: BySample
    workers: Workers
    sessions: bool = True
    _turns: BySample = field(init=False)
    _answers: BySample = field(init=False)

    def __post_init__(self) -> None:
        plans = self.plans
        self._turns = BySample(lambda who, index: plans.turns(who).astype(float))
        self._answers = BySample(lambda who, call: plans.answers(who, call).astype(float))

    def begin(self, sample: Sample) -> Turn:
        turns = self._turns_of(sample)
        return Turn(sample.prompt_tokens, _share(sample.response_tokens, turns, 0))

    def go_on(self, sample: Sample, proceed: Callable[[Sample, Turn], None]) -> bool:
        turns, call = self._turns_of(sample), sample.turns
        if call >= turns:
            return False
        called_s = self.services.clock.now

        def answered(waited_s: float) -> None:
            sample.tools_s += self.services.clock.now - called_s
            sample.tools_wait_s += waited_s
            tokens = int(self._answers.of(sample, call))
            proceed(sample, Turn(tokens, _share(sample.response_tokens, turns, call)))

        self.workers.do(lambda: self._seconds(sample, call), answered)
        return True

    def _turns_of(self, sample: Sample) -> int:
        return min(int(self._turns.of(sample)), sample.response_tokens)

    def _seconds(self, sample: Sample, call: int) -> float:
        limit = self.settings.timeout_s
        needed = self.seconds.of(sample, call)
        return needed if limit is None else min(needed, limit)


def _share(tokens: int, turns: int, turn: int) -> int:
    """Tokens of one turn of `turns`."""
    return (turn + 1) * tokens // turns - turn * tokens // turns
