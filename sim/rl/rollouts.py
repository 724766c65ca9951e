"""Samples on their way through the cluster: the loop's clients.

To the cluster this is a source of requests like any other. A sample is one request a turn; between
turns its environment works, behind the last one its reward. What is ready goes to `on_scored`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from sim.engine.engine import Engine
from sim.engine.sequence import Sequence
from sim.errors import BrokenInvariant
from sim.rl.environments import RunningEnvironment, Turn
from sim.rl.prompts import Prompts
from sim.rl.rewards import RunningReward
from sim.rl.samples import ABORTED, IN_FLIGHT, Group, Sample
from sim.workload.request import Happening, Request


@dataclass(eq=False, slots=True)
class Rollouts:
    """Prompts in, scored groups out."""

    prompts: Prompts
    expected: int
    """Requests of the whole loop, roughly: for progress bars."""
    environment: RunningEnvironment = field(init=False)
    reward: RunningReward = field(init=False)
    on_scored: Callable[[Group], None] = field(init=False)
    """Told when every sample of a group has a reward or has been given up."""
    on_left: Callable[[Sample], None] = field(default=lambda sample: None)
    """Told when a sample is not generated any more: it has its last token, and may still be given
    up, or it was."""
    on_activity: Callable[[], None] = field(init=False)
    """Told when generation or scoring begins or ends altogether."""
    look_again: Callable[[], None] = field(init=False)
    """Asks the cluster to look for requests."""
    cancel: Callable[[int], None] = field(init=False)
    """Asks the cluster to end a request; it is told as an event."""
    move: Callable[[int, Engine, bool], None] = field(init=False)
    """Asks the cluster to go on with a request in another engine, with its KV or without."""
    now: Callable[[], float] = field(init=False)
    version: int = 0
    """Of the policy that the engines have."""
    generating: int = 0
    """Samples between submission and their last token."""
    scoring: int = 0
    """Samples between last token and reward."""
    begun: int = 0
    """Samples submitted so far."""
    last_generated_s: float = 0.0
    _next_prompt: int = 0
    _next_request: int = 0
    _soon: deque[tuple[Sample, Turn]] = field(default_factory=deque)
    """To be asked at once."""
    _asked: dict[int, Sample] = field(default_factory=dict)
    """By request, those in the cluster."""

    # ---- what the cluster sees

    @property
    def listens(self) -> bool:
        """Ends of requests drive the loop."""
        return True

    @property
    def block_tokens(self) -> int:
        """The prompts'."""
        return self.prompts.block_tokens

    def peek(self) -> float | None:
        """Now, while something is to be asked."""
        return self.now() if self._soon else None

    def take(self) -> Request:
        """The next turn of the sample that has waited longest."""
        sample, turn = self._soon.popleft()
        number = sample.request = self._next_request
        self._next_request = number + 1
        sample.turns += 1
        self._asked[number] = sample
        if sample.turns > 1:
            sample.added += turn.new_tokens
        prompt = sample.prompt_tokens + sample.added + sample.generated
        if self.environment.sessions:
            ids = self.prompts.session_ids(sample, prompt + turn.response_tokens)
        else:
            ids = self.prompts.block_ids(sample.group.prompt, sample.prompt_tokens)
        block, answer = self.prompts.block_tokens, turn.response_tokens
        return Request(number, self.now(), prompt, answer, ids, block, engine=sample.engine)

    def sample_of(self, request: int) -> Sample:
        """The sample that a request in the cluster is for."""
        return self._asked[request]

    def on_event(self, what: Happening, request: Request, now_s: float) -> None:
        """A turn has ended; or the cluster refused or lost it, and the sample is given up."""
        if what is Happening.FIRST_TOKEN:
            return
        sample = self._asked.pop(request.number)
        if what is not Happening.FINISHED or sample.unwanted:
            self.give_up(sample)
            return
        if not self.environment.go_on(sample, self._proceed):
            self._generated(sample, now_s)

    def ended(self, request: Request, sequence: Sequence) -> None:
        """The cluster is about to tell that a request ended: which versions made its tokens."""
        sample = self._asked[request.number]
        sample.generated += sequence.generated
        made = sequence.by_version()
        sample.interruptions += max(0, len(made) - 1)
        sample.versions += made

    def loaded(self, version: int) -> None:
        """All engines have a version of the policy."""
        self.version = version

    # ---- the life of a sample

    def submit(
        self, groups: int, each: int | None = None, engine: Engine | None = None
    ) -> list[Group]:
        """The next so many prompts, a group of samples each (as many as are trained on, or
        `each`), for all engines or one."""
        numbers = np.arange(self._next_prompt, self._next_prompt + groups)
        self._next_prompt += groups
        prompts = self.prompts.prompt_lengths(numbers).tolist()
        answers = self.prompts.response_lengths(numbers, each).tolist()
        now, version = self.now(), self.version if engine is None else engine.version
        made = []
        for number, prompt, lengths in zip(numbers.tolist(), prompts, answers, strict=True):
            group = Group(number, now, version)
            self._fill(group, prompt, lengths, engine=None if engine is None else engine.number)
            made.append(group)
        self._opened()
        return made

    def submit_again(self, group: Group, places: list[int]) -> Group:
        """The same prompt once more, for the samples at the given places of its group: as long as
        they were."""
        again = Group(group.prompt, self.now(), self.version, round=group.round + 1)
        first = group.samples[0]
        known = self.prompts.response_lengths(np.array([group.prompt]))[0]
        self._fill(again, first.prompt_tokens, [int(known[i]) for i in places], places)
        self._opened()
        return again

    def _fill(
        self,
        group: Group,
        prompt: int,
        lengths: list[int],
        places: list[int] | None = None,
        engine: int | None = None,
    ) -> None:
        for i, tokens in enumerate(lengths):
            place = i if places is None else places[i]
            sample = Sample(self.begun, group, place, prompt, tokens, group.submitted_s)
            sample.engine = engine
            self.begun += 1
            group.samples.append(sample)
            self._soon.append((sample, self.environment.begin(sample)))
        group.open = len(lengths)
        self.generating += len(lengths)

    def _opened(self) -> None:
        self.on_activity()
        self.look_again()

    def _proceed(self, sample: Sample, turn: Turn) -> None:
        """A tool has answered."""
        if sample.state == IN_FLIGHT:
            self._soon.append((sample, turn))
            self.look_again()

    def _generated(self, sample: Sample, now_s: float) -> None:
        sample.generated_s = self.last_generated_s = now_s
        if sample.generated != sample.response_tokens:
            raise BrokenInvariant(
                f"sample {sample.number} ended with {sample.generated} of "
                f"{sample.response_tokens} tokens at {now_s} s"
            )
        self.generating -= 1
        self.on_left(sample)
        if sample.state != IN_FLIGHT:
            self.on_activity()
            return
        self.scoring += 1
        self.on_activity()
        self.reward.score(sample, self._scored)

    def _scored(self, sample: Sample, kept: bool) -> None:
        self.scoring -= 1
        if sample.state == IN_FLIGHT:
            sample.scored_s = self.now()
            if not kept:
                sample.state = ABORTED
            self._one_less(sample.group)
        self.on_activity()

    def abort(self, sample: Sample) -> None:
        """Give up a sample, wherever it is: a request of it is cancelled, a score not waited for.
        One whose fate is decided stays as it is."""
        if sample.state != IN_FLIGHT:
            return
        if sample.request in self._asked:
            sample.unwanted = True
            self.cancel(sample.request)
        elif sample.generated_s != sample.generated_s:
            self._soon = deque(entry for entry in self._soon if entry[0] is not sample)
            self.give_up(sample)
        else:
            sample.state = ABORTED
            if sample.scored_s != sample.scored_s:
                self._one_less(sample.group)

    def give_up(self, sample: Sample) -> None:
        """A sample that is being generated ends without a result."""
        self.generating -= 1
        sample.state = ABORTED
        self.on_left(sample)
        self._one_less(sample.group)
        self.on_activity()

    def _one_less(self, group: Group) -> None:
        group.open -= 1
        if group.open == 0:
            group.ready_s = self.now()
            self.on_scored(group)
