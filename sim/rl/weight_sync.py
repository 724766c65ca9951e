"""New weights on their way to the engines: every byte crosses the fabric.

Gathering, the host's time per tensor, quantising and loading take their time on the clock; what is
sent is bundles of flows that share links with everything else."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass

from simpy.events import Event

from sim.clock import ARRIVAL, Clock
from sim.engine.engine import Engine
from sim.network.fabric import Fabric
from sim.network.topology import Topology
from sim.perf.training.sync_plan import SyncPlan
from sim.perf.training.transfers import Transfer

Steps = Generator[Event, None, None]


@dataclass(eq=False, slots=True)
class Mover:
    """Plays moves."""

    clock: Clock
    fabric: Fabric
    topology: Topology

    def move(self, plan: SyncPlan) -> Steps:
        """From the first gathering to the last engine's loading."""
        yield from self.wait(plan.before_s)
        yield from self.send(plan.rounds, plan.wire_fraction)
        yield from self.wait(plan.pull_s + plan.after_s)

    def send(
        self,
        rounds: Sequence[tuple[Transfer, ...]],
        fraction: float = 1.0,
        *,
        within_s: float | None = None,
    ) -> Steps:
        """Rounds of transfers, one after the other, each transfer at no more than a fraction of its
        rate alone; `within_s`: each round in no less than so long."""
        for transfers in rounds:
            arrived, all_there = self._count(len(transfers))
            for transfer in transfers:
                bundle = self.topology.bundle(transfer.pairs)
                cap = bundle.alone_bytes_per_s * fraction
                if within_s is not None:
                    slack = within_s - bundle.latency_s
                    cap = min(cap, transfer.nbytes / slack) if slack > 0 else cap
                self.fabric.send(bundle, transfer.nbytes, arrived, rate_cap_bytes_per_s=cap)
            if transfers:
                yield all_there

    def wait(self, seconds: float) -> Steps:
        """Let time pass."""
        if seconds > 0:
            yield self.clock.at(self.clock.now + seconds, ARRIVAL)

    def quiet(self, engines: Sequence[Engine]) -> Steps:
        """Pause engines, and wait until the passes in progress have ended."""
        told, all_quiet = self._count(len(engines))
        for engine in engines:
            engine.levers.pause()
        for engine in engines:
            engine.levers.quiet(told)
        yield all_quiet

    def _count(self, calls: int) -> tuple[Callable[[], None], Event]:
        """(what is called so often, what happens then)"""
        left, event = calls, self.clock.event()

        def call() -> None:
            nonlocal left
            left -= 1
            if not left:
                event.succeed()

        return call, event


@dataclass(eq=False, slots=True)
class Updates:
    """New versions into engines: pushed to all while they pause, or published to relays from which
    each engine takes them when they are there."""

    mover: Mover
    engines: list[Engine]
    plan: SyncPlan
    loaded: Callable[[int], None]
    """Told when all engines have a version."""
    available: int = 0
    """Version that the relays have."""
    _loading: Event | None = None
    """Ends when every engine has taken what was published last."""

    @property
    def published(self) -> bool:
        """Whether engines go on generating until new weights are beside them."""
        return self.plan.pull_s > 0.0

    def push(self, version: int, *, keep_kv: bool) -> Steps:
        """All engines pause, get the weights, and go on."""
        yield from self.mover.quiet(self.engines)
        yield from self.mover.move(self.plan)
        for engine in self.engines:
            _take(engine, version, keep_kv)
        self.loaded(version)
        for engine in self.engines:
            engine.levers.resume()

    def publish(self, version: int, *, keep_kv: bool, pulled: bool = True) -> Steps:
        """Until the trainer has sent what it sends; the rest goes on behind its back, engines'
        pulling included (where `pulled`). It waits first for the version before."""
        if self._loading is not None:
            yield self._loading
        plan, clock = self.plan, self.mover.clock
        yield from self.mover.wait(plan.before_s)
        yield from self.mover.send(plan.rounds[: plan.sending_rounds], plan.wire_fraction)
        self._loading = clock.event()
        clock.process(self._spread(version, keep_kv, pulled, self._loading))

    def taken(self) -> Steps:
        """Until every engine has what was published."""
        if self._loading is not None:
            yield self._loading

    def _spread(self, version: int, keep_kv: bool, pulled: bool, done: Event) -> Steps:
        plan, clock = self.plan, self.mover.clock
        yield from self.mover.send(plan.rounds[plan.sending_rounds :], plan.wire_fraction)
        self.available = version
        if pulled:
            pulls = [clock.process(self.pull(e, keep_kv=keep_kv)) for e in self.engines]
            yield clock.all_of(pulls)
            self.loaded(version)
        self._loading = None
        done.succeed()

    def pull(self, engine: Engine, *, keep_kv: bool) -> Steps:
        """One engine takes what its relay has."""
        version = self.available
        yield from self.mover.quiet([engine])
        yield from self.mover.wait(self.plan.pull_s + self.plan.after_s)
        _take(engine, version, keep_kv)
        engine.levers.resume()


def _take(engine: Engine, version: int, keep_kv: bool) -> None:
    """A quiet engine has other weights from now on; what drafts for it was made for version 0."""
    engine.levers.set_version(version)
    engine.levers.set_draft_lag(version)
    engine.levers.flush(keep_kv=keep_kv)
