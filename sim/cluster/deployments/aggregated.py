"""Every engine prefills and decodes; a router spreads the requests over all pools."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Annotated

from sim.cluster.handoff import Handoff, Handoffs
from sim.cluster.routers import Route, Router
from sim.cluster.routers.least_loaded import LeastLoaded
from sim.cluster.services import ClusterServices
from sim.cluster.view import View
from sim.engine.departures import has_room, withdraw
from sim.engine.engine import Engine
from sim.engine.sequence import Sequence
from sim.plugins import policy
from sim.settings import settings


@dataclass(eq=False, slots=True)
class _Aggregated:
    services: ClusterServices
    view: View
    router: Route
    engines: dict[int, Engine]
    """By number."""
    moves: list[Handoffs]
    """Between the engines of every pool."""

    def accept(self, sequence: Sequence) -> None:
        if sequence.ask.engine is None:
            engine, rank = self.view.seat(self.router.pick(sequence.ask, self.view))
        else:
            engine = self.engines[sequence.ask.engine]
            rank = engine.gauges.idlest()
        engine.submit(rank, sequence)

    def refuses(self, prompt_tokens: int, total_tokens: int) -> str:
        for pool in self.services.pools.values():
            reason = pool.engines[0].refuses(total_tokens)
            if reason:
                return reason
        return ""

    def cancel(self, sequence: Sequence) -> None:
        self._stop_moving(sequence)
        withdraw(sequence, lambda: self.services.ears.cancelled(sequence))

    def move(self, sequence: Sequence, engine: Engine, rank: int, *, send_kv: bool) -> None:
        self._stop_moving(sequence)
        source = sequence.engine
        moves = next((m for m in self.moves if source in m.src.engines), None)
        near = (
            send_kv and source is not engine and moves is not None and engine in moves.dst.engines
        )

        def out() -> None:
            if moves is not None and source is not None and sequence.engine is source:
                seat = source, sequence.rank
                moves.ready(moves.open(sequence, seat, (engine, rank)))
            else:
                engine.submit(rank, sequence)

        room = partial(has_room, engine, rank, sequence) if send_kv and near else None
        withdraw(sequence, out, hold_kv=room)

    def _stop_moving(self, sequence: Sequence) -> None:
        for moves in self.moves:
            moves.cancel(sequence.number)

    def keeps(self, engine: Engine, sequence: Sequence) -> bool:
        return True

    def prefilled(self, engine: Engine, rank: int, sequence: Sequence, left: int) -> None:
        if sequence.generated == 1:
            self.services.ears.first_token(sequence)

    def finished(self, engine: Engine, rank: int, sequence: Sequence) -> None:
        self.services.ears.finished(sequence, engine.number)

    def lost(self, engine: Engine, rank: int, sequence: Sequence) -> None:
        self._stop_moving(sequence)
        self.services.ears.failed(sequence)


@settings
class Aggregated:
    """All pools serve whole requests."""

    router: Annotated[Router, policy("sim.cluster.routers")] = LeastLoaded()
    """Which engine a request goes to."""

    def pools(self) -> None:
        """Any pools."""
        return

    def start(self, services: ClusterServices) -> _Aggregated:
        """One view over the seats of all pools."""
        route = self.router.start(services.draws("router"))
        engines = {e.number: e for p in services.pools.values() for e in p.engines}
        moves = [Handoffs(services, p, p, _nothing) for p in services.pools.values()]
        return _Aggregated(services, services.views["*"], route, engines, moves)


def _nothing(handoff: Handoff) -> None:
    """A client does not notice a move."""
