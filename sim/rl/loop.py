"""The loop: what cadences are made of, and the books that they keep.

Time passes in `wait_for`, `train`, `sync` and `drained`, all of which account the trainer's time;
everything else happens at once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from itertools import islice

from simpy.events import Event

from sim.clock import Clock
from sim.engine.engine import Engine
from sim.errors import BrokenInvariant
from sim.perf.training.sync_plan import SyncPlan
from sim.rl.books import (
    GENERATION,
    RESHARD,
    REWARD,
    REWARD_WORKERS,
    ROLLOUT,
    SYNC,
    SYNCING,
    WAIT,
    Books,
)
from sim.rl.cadences import Cadence, Steps
from sim.rl.filters import RunningFilter
from sim.rl.learner import Learner
from sim.rl.rollouts import Rollouts
from sim.rl.samples import ABORTED, FILTERED, STALE, TRAINED, Group
from sim.rl.weight_sync import Mover, Updates

MOST_DROPPED = 50
"""Batches' worth of groups that may be dropped in a row before the loop is given up."""


@dataclass(eq=False, slots=True)
class Loop:
    """Rollout and training of one policy."""

    steps: int
    prompts_per_step: int
    cadence: Cadence
    clock: Clock
    books: Books
    rollouts: Rollouts
    learner: Learner
    mover: Mover
    filter: RunningFilter
    updates: Updates
    to_training: SyncPlan | None
    """What brings a colocated trainer onto the GPUs; None for one apart."""
    version: int = 0
    """Updates that the policy has had."""
    trained: int = 0
    """Version that the last step trained."""
    syncing: bool = False
    """All engines pause for new weights."""
    held: bool = False
    """All engines pause until then."""
    open_groups: int = 0
    """Groups that are being generated or scored."""
    submitted: int = 0
    """Prompts so far."""
    dropped: int = 0
    """Of them, not to be trained on: filtered, stale or given up."""
    ready: list[Group] = field(default_factory=list)
    """Scored and kept, in order of readiness."""
    live: dict[Group, None] = field(default_factory=dict)
    """Groups with samples whose fate is not decided."""
    refill: Callable[[], None] = field(default=lambda: None)
    """Called when a group has been dropped, so that a cadence may submit another."""
    finished: Event = field(init=False)
    """Happens when the last step is over."""
    gave_up: str = ""
    """Why the loop ended before its last step."""
    _wanted: Callable[[], bool] | None = None
    _wake: Event | None = None
    _dropped_in_a_row: int = 0
    _unclosed: Sequence[Group] = ()
    """Trained on in a step that is not over."""

    def open(self) -> None:
        """Begin."""
        rollouts, clock = self.rollouts, self.clock
        rollouts.now = lambda: float(clock.now)
        rollouts.on_scored = self._scored
        rollouts.on_activity = self._activity
        self.finished = clock.event()
        clock.process(self._play())

    def _play(self) -> Steps:
        yield from self.cadence.play(self)
        self.finished.succeed()

    # ---- prompts and groups

    def submit(
        self, prompts: int, each: int | None = None, engine: Engine | None = None
    ) -> list[Group]:
        """Begin so many prompts under the present version, with as many samples as are trained on,
        or `each`, for all engines or one."""
        self.submitted += prompts
        self.open_groups += prompts
        groups = self.rollouts.submit(prompts, each, engine)
        self.live.update(dict.fromkeys(groups))
        return groups

    def submit_again(self, groups: Iterable[Group]) -> list[Group]:
        """Begin prompts that were given up once more, with as many samples as are trained on."""
        places = list(range(self.rollouts.prompts.per_prompt))
        begun = [self.rollouts.submit_again(group, places) for group in groups]
        self.submitted += len(begun)
        self.open_groups += len(begun)
        self.live.update(dict.fromkeys(begun))
        return begun

    def abandon(self, groups: Iterable[Group]) -> None:
        """Give groups up, wherever their samples are. Those that a pass works on go with its
        end."""
        for group in groups:
            if group not in self.live:
                continue
            group.unwanted = True
            if group.open:
                for sample in sorted(group.samples, key=lambda s: s.scored_s != s.scored_s):
                    self.rollouts.abort(sample)
            else:
                self.ready.remove(group)
                self.drop(group, ABORTED)

    def _scored(self, group: Group) -> None:
        """Every sample of a group has its reward or was given up."""
        self.open_groups -= 1
        for sample in group.samples:
            if sample.state == ABORTED and not sample.settled:
                self.books.settle(sample, ABORTED)
        if group.kept and self.filter.keeps(group):
            self.ready.append(group)
        else:
            self.drop(group, FILTERED)
        self._look()

    def drop(self, group: Group, why: int) -> None:
        """A group is not trained on."""
        for sample in group.kept:
            self.books.settle(sample, why)
        del self.live[group]
        self.dropped += 1
        self._dropped_in_a_row += not group.unwanted
        if self._dropped_in_a_row > MOST_DROPPED * self.prompts_per_step:
            self._give_up()
        else:
            self.refill()

    def _give_up(self) -> None:
        if self.gave_up:
            return
        self.gave_up = (
            f"{self._dropped_in_a_row} groups in a row were filtered, stale or given up, so step "
            f"{self.books.rows} never gets its {self.prompts_per_step}; loosen rl.filter, raise "
            "max_age or the time-out of rewards, or see why samples are rejected"
        )
        self.finished.succeed()

    def drop_stale(self, oldest: int) -> None:
        """Drop ready groups that were submitted under a version before `oldest`."""
        old = [g for g in self.ready if g.version < oldest]
        self.ready = [g for g in self.ready if g.version >= oldest]
        for group in old:
            self.drop(group, STALE)

    def take(self, groups: int, *, oldest_first: bool = False) -> list[Group]:
        """Ready groups, in order of readiness or of submission."""
        if oldest_first:
            self.ready.sort(key=lambda g: (g.version, g.prompt))
        taken, self.ready = self.ready[:groups], self.ready[groups:]
        if len(taken) < groups:
            raise BrokenInvariant(f"{groups} groups are taken and {len(taken)} are ready")
        return taken

    # ---- what takes time

    def until(self, wanted: Callable[[], bool]) -> Steps:
        """Wait until something holds; looked at whenever a group is decided or a sample ends."""
        if not wanted():
            self._wanted, self._wake = wanted, self.clock.event()
            yield self._wake

    def _look(self) -> None:
        if self._wanted is not None and self._wake is not None and self._wanted():
            wake, self._wanted, self._wake = self._wake, None, None
            wake.succeed()

    def wait_for(self, groups: int, *, in_order: bool = False, replace: bool = True) -> Steps:
        """The trainer waits until so many groups are ready, or (`in_order`) those submitted first;
        prompts that were dropped are replaced (`replace`) where nothing else would come."""

        def enough() -> bool:
            missing = groups - len(self.ready) - self.open_groups
            if missing > 0 and replace and not self.gave_up:
                self.submit(missing)
            if len(self.ready) < groups:
                return False
            return not in_order or not any(g.open for g in islice(self.live, groups))

        yield from self.until(enough)
        awaited = list(islice(self.live, groups)) if in_order else self.ready[:groups]
        made = max((g.generated_s for g in awaited), default=self.clock.now)
        self.books.waited(made)

    def drained(self) -> Steps:
        """The trainer waits until no sample is being generated; the ready ones stay."""
        yield from self.until(lambda: self.rollouts.generating == 0)
        self.books.waited(self.rollouts.last_generated_s)

    def hold(self) -> Steps:
        """Engines stop after the passes in progress, as they are, until the next sync."""
        yield from self.mover.quiet(self.updates.engines)
        self.held = True
        self._activity()
        self.books.waited(self.clock.now)

    def train(self, groups: Sequence[Group]) -> Steps:
        """Train on groups: their samples are consumed. A colocated trainer takes the GPUs first."""
        if self.to_training is not None:
            yield from self.mover.move(self.to_training)
            self.books.sync_bytes += self.to_training.nbytes
            self.books.spend(RESHARD)
        yield from self.learner.work(groups)
        self._unclosed = groups
        for group in groups:
            for sample in group.kept:
                sample.uses += self.learner.settings.epochs
                sample.step_now = self.books.rows
                self.books.settle(sample, TRAINED, self.books.rows, self.version)
            del self.live[group]
        self.trained = self.version
        self.version += 1
        self._dropped_in_a_row = 0

    def sync(self, *, keep_kv: bool = True, aside: bool = False) -> Steps:
        """The newest weights into the engines, which pause for them, all at once or (where they
        take them from relays) each by itself: `aside`, while the trainer goes on."""
        updates, books = self.updates, self.books
        self.held = False
        books.switch(SYNC, SYNCING)
        if updates.published:
            yield from updates.publish(self.version, keep_kv=keep_kv)
            if not aside:
                yield from updates.taken()
        else:
            self.syncing = True
            self._activity()
            yield from updates.push(self.version, keep_kv=keep_kv)
            self.syncing = False
            self._activity()
        books.switch(SYNC, None)
        books.sync_bytes += updates.plan.nbytes
        books.spend(SYNCING if self.to_training is None else RESHARD)

    def publish(self) -> Steps:
        """The newest weights to the relays; engines take them one by one (`Updates.pull`)."""
        books = self.books
        books.switch(SYNC, SYNCING)
        yield from self.updates.publish(self.version, keep_kv=True, pulled=False)
        books.switch(SYNC, None)
        books.sync_bytes += self.updates.plan.nbytes
        books.spend(SYNCING)

    def close_step(self, groups: Sequence[Group]) -> None:
        """A step is over, weight sync included."""
        self._unclosed = ()
        self.books.close_step(groups, self.trained, self.in_flight)

    # ---- books

    @property
    def in_flight(self) -> int:
        """Samples whose fate is not decided."""
        return self.rollouts.begun - sum(self.books.counts)

    def _activity(self) -> None:
        """Generation or scoring may have begun or ended."""
        books, rollouts = self.books, self.rollouts
        making = rollouts.generating and not self.held
        busy = SYNCING if self.syncing else GENERATION if making else None
        books.switch(ROLLOUT, busy)
        books.switch(REWARD_WORKERS, REWARD if rollouts.scoring else None)
        self._look()

    def close(self) -> None:
        """The run is over: a step that has trained ends here, what is left is in flight, and nobody
        was lost."""
        if self._unclosed:
            self.books.spend(SYNCING if self.books.is_open(SYNC) else WAIT)
            self.close_step(self._unclosed)
        left = [s for g in self.live for s in g.samples if not s.settled]
        self.books.close(left, self.rollouts.begun)
