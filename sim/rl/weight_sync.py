"""New weights on their way to the engines: every byte crosses the fabric.

Gathering, the host's time per tensor, quantising and loading take their time on the clock; what is
sent is bundles of flows that share links with everything else."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass

from simpy.events import Event

from sim.clock import ARRIVAL, Clock
from sim.network.fabric import Fabric
from sim.network.topology import Topology
from sim.perf.training.transfers import Transfer
from sim.rl.weights import Move

Steps = Generator[Event, None, None]


@dataclass(eq=False, slots=True)
class Mover:
    """Plays moves."""

    clock: Clock
    fabric: Fabric
    topology: Topology

    def move(self, plan: Move) -> Steps:
        """From the first gathering to the last engine's loading."""
        yield from self.wait(plan.before_s)
        yield from self.send(plan, plan.rounds)
        yield from self.wait(plan.pull_s + plan.after_s)

    def send(self, plan: Move, rounds: Sequence[tuple[Transfer, ...]]) -> Steps:
        """Rounds of a move, one after the other."""
        for transfers in rounds:
            yield from self._round(transfers, plan.wire_fraction)

    def _round(self, transfers: tuple[Transfer, ...], fraction: float) -> Steps:
        left, done = len(transfers), self.clock.event()

        def arrived() -> None:
            nonlocal left
            left -= 1
            if not left:
                done.succeed()

        for transfer in transfers:
            bundle = self.topology.bundle(transfer.pairs)
            cap = bundle.alone_bytes_per_s * fraction
            self.fabric.send(bundle, transfer.nbytes, arrived, rate_cap_bytes_per_s=cap)
        if transfers:
            yield done

    def wait(self, seconds: float) -> Steps:
        """Let time pass."""
        if seconds > 0:
            yield self.clock.at(self.clock.now + seconds, ARRIVAL)
