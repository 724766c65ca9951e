"""New weights on their way to the engines: every byte crosses the fabric.

Gathering, the host's time per tensor, quantising and loading take their time on the clock; what is
sent is bundles of flows that share links with everything else."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass

from simpy.events import Event

from sim.clock import ARRIVAL, Clock
from sim.engine.engine import Engine
from sim.network.fabric import Bundle, Fabric

Steps = Generator[Event, None, None]


@dataclass(frozen=True, slots=True)
class Hop:
    """Flows that move together."""

    bundle: Bundle
    nbytes: float


@dataclass(frozen=True, slots=True)
class SyncPlan:
    """One synchronisation, worked out."""

    before_s: float
    """Gathering and quantising, before a byte is sent."""
    rounds: tuple[tuple[Hop, ...], ...]
    """Bundles that are sent at once; round after round."""
    after_s: float
    """Host time per tensor, loading."""

    @property
    def nbytes(self) -> float:
        """Bytes of all bundles."""
        return sum(hop.nbytes for hops in self.rounds for hop in hops)


@dataclass(eq=False, slots=True)
class Mover:
    """Plays plans."""

    clock: Clock
    fabric: Fabric

    def move(self, plan: SyncPlan) -> Steps:
        """From the first gathering to the last engine's loading."""
        yield from self.wait(plan.before_s)
        for hops in plan.rounds:
            yield from self._round(hops)
        yield from self.wait(plan.after_s)

    def _round(self, hops: tuple[Hop, ...]) -> Steps:
        left, done = len(hops), self.clock.event()

        def arrived() -> None:
            nonlocal left
            left -= 1
            if not left:
                done.succeed()

        for hop in hops:
            self.fabric.send(hop.bundle, hop.nbytes, arrived)
        if hops:
            yield done

    def wait(self, seconds: float) -> Steps:
        """Let time pass."""
        if seconds > 0:
            yield self.clock.at(self.clock.now + seconds, ARRIVAL)


def quiet(clock: Clock, engines: list[Engine]) -> Steps:
    """Until the passes in progress of paused engines have ended."""
    for engine in engines:
        for flight in engine.flights:
            if flight.flying and flight.wake is not None:
                yield flight.wake
    yield from ()
