"""What a loop has done, as rows: steps, phases of its actors, and the fate of every sample."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from sim.clock import Clock
from sim.errors import BrokenInvariant
from sim.record.log import Log
from sim.record.tables import ACTORS, NONE, PHASES, SAMPLE_STATES
from sim.rl.samples import ABORTED, FILTERED, IN_FLIGHT, STALE, TRAINED, Group, Sample

ROLLOUT, REWARD_WORKERS, TRAINER, SYNC = range(len(ACTORS))
(
    GENERATION, REWARD, WAIT, PREPARE, RESHARD, LOGPROB, REFERENCE, TRAIN, CHECKPOINT, RECOVERY,
    SYNCING,
) = range(len(PHASES))  # fmt: skip

_TRAINERS = (WAIT, PREPARE, RESHARD, LOGPROB, REFERENCE, TRAIN, CHECKPOINT, RECOVERY, SYNCING)
"""Phases that fill the trainer's time, in the order of the columns of `rl_steps`."""


@dataclass(slots=True)
class Worked:
    """What a trainer did in a step, for its row."""

    bubble: float = 0.0
    mfu: float = 0.0


@dataclass(eq=False, slots=True)
class Books:
    """Rows and sums. The trainer's phases of a step fill it without gaps."""

    clock: Clock
    log: Log
    rows: int = 0
    """Steps so far."""
    counts: list[int] = field(default_factory=lambda: [0] * len(SAMPLE_STATES))
    """Samples whose fate is decided, by it."""
    _spent: list[float] = field(default_factory=lambda: [0.0] * len(PHASES))
    _began_s: float = 0.0
    _phase_s: float = 0.0
    """End of the trainer's last phase."""
    _lost: list[int] = field(default_factory=lambda: [0] * len(SAMPLE_STATES))
    """`counts` when the last step ended."""
    _open: dict[int, tuple[int, float]] = field(default_factory=dict)
    """Phases of other actors that have begun: actor → (phase, when)."""
    sync_bytes: float = 0.0
    exposed_generation_s: float = 0.0
    exposed_reward_s: float = 0.0
    worked: Worked = field(default_factory=Worked)

    def spend(self, phase: int) -> float:
        """The trainer has been in a phase until now, since its last one: seconds of it."""
        start, now = self._phase_s, self.clock.now
        self._phase_s = now
        self._spent[phase] += now - start
        if now > start:
            self.log.rl_phases((TRAINER, phase, self.rows, start, now))
        return float(now - start)

    def waited(self, generated_s: float) -> None:
        """The trainer has waited until now for samples whose last token came at `generated_s`:
        for tokens until then, for rewards since."""
        start, now = self._phase_s, self.clock.now
        self.spend(WAIT)
        tokens_until = min(max(generated_s, start), now)
        self.exposed_generation_s += tokens_until - start
        self.exposed_reward_s += now - tokens_until

    def switch(self, actor: int, phase: int | None) -> None:
        """An actor is in another phase from now on, or rests."""
        before, now = self._open.get(actor), self.clock.now
        if before is not None:
            if before[0] == phase:
                return
            del self._open[actor]
            if now > before[1]:
                self.log.rl_phases((actor, before[0], self.rows, before[1], now))
        if phase is not None:
            self._open[actor] = (phase, now)

    def is_open(self, actor: int) -> bool:
        """Whether an actor (not the trainer) is in a phase."""
        return actor in self._open

    def close_step(self, groups: Iterable[Group], version: int, in_flight: int) -> None:
        """A step is over: its row. `version` is the one it trained."""
        samples = [s for g in groups for s in g.samples if s.step_now == self.rows]
        now, counts = self.clock.now, self.counts
        lags = [s.lag for s in samples]
        tokens = sum(s.response_tokens for s in samples)
        stale = sum(lag[0] * s.response_tokens for lag, s in zip(lags, samples, strict=True))
        begun = min((s.submitted_s for s in samples), default=now)
        made = max((s.generated_s for s in samples), default=now)
        since = [counts[i] - self._lost[i] for i in range(len(counts))]
        self.log.rl_steps(
            (
                self.rows,
                version,
                self._began_s,
                now,
                made - begun,
                self.exposed_generation_s,
                self.exposed_reward_s,
                *(self._spent[p] for p in _TRAINERS),
                len(samples),
                len({s.group.prompt for s in samples}),
                sum(s.prompt_tokens for s in samples),
                tokens,
                max((s.response_tokens for s in samples), default=0),
                stale / tokens if tokens else 0.0,
                max((lag[1] for lag in lags), default=0),
                self.worked.bubble,
                self.worked.mfu,
                self.sync_bytes,
                since[FILTERED],
                since[STALE],
                since[ABORTED],
                in_flight,
            )
        )
        self._lost = list(counts)
        self._spent = [0.0] * len(PHASES)
        self.sync_bytes = self.exposed_generation_s = self.exposed_reward_s = 0.0
        self._began_s = now
        self.rows += 1

    def settle(self, sample: Sample, state: int, step: int = NONE, version: int = NONE) -> None:
        """A sample's fate is decided; its row. Once a sample, or BrokenInvariant."""
        if sample.settled:
            raise BrokenInvariant(
                f"sample {sample.number} was {SAMPLE_STATES[sample.state]} and is to be "
                f"{SAMPLE_STATES[state]} at {self.clock.now} s"
            )
        sample.settled, sample.state = True, state
        self.counts[state] += 1
        trained = state == TRAINED
        if trained:
            sample.lag = sample.staleness(version)
        lag, most = sample.lag if trained else (float("nan"), NONE)
        scored = sample.scored_s == sample.scored_s
        self.log.samples(
            (
                sample.number,
                sample.group.prompt,
                sample.index,
                sample.request,
                sample.turns,
                sample.prompt_tokens,
                sample.generated,
                sample.submitted_s,
                sample.generated_s,
                sample.scored_s,
                sample.tools_s,
                sample.tools_wait_s,
                sample.scored_s - sample.generated_s if scored else 0.0,
                sample.reward_wait_s if scored else 0.0,
                state,
                step,
                sample.uses,
                sample.versions[0][0] if sample.versions else sample.group.version,
                sample.versions[-1][0] if sample.versions else sample.group.version,
                lag,
                most,
                sample.interruptions,
            )
        )

    def close(self, left: Iterable[Sample], begun: int) -> None:
        """The run is over: those that are left are in flight, and nobody is lost."""
        for actor in list(self._open):
            self.switch(actor, None)
        for sample in left:
            self.settle(sample, IN_FLIGHT)
        if sum(self.counts) != begun:
            named = dict(zip(SAMPLE_STATES, self.counts, strict=True))
            raise BrokenInvariant(f"{begun} samples were begun and these ended: {named}")
