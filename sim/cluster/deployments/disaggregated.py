"""Prompts are computed in one pool and answered in another; the KV cache crosses the fabric."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Literal

from sim.cluster.handoff import Handoff, Handoffs
from sim.cluster.routers import Route, Router
from sim.cluster.routers.least_loaded import LeastLoaded
from sim.cluster.routers.prefix_affinity import PrefixAffinity
from sim.cluster.services import ClusterServices
from sim.cluster.view import View
from sim.engine.departures import withdraw
from sim.engine.engine import Engine
from sim.engine.sequence import Sequence
from sim.errors import BrokenInvariant, ScenarioError
from sim.plugins import policy
from sim.settings import settings


@settings
class Disaggregated:
    """A prefill pool and a decode pool."""

    prefill: str = "prefill"
    """Name of the pool that computes prompts."""
    decode: str = "decode"
    """Name of the pool that generates."""
    router: Annotated[Router, policy("sim.cluster.routers")] = LeastLoaded()
    """Which prefill engine a request goes to."""
    decode_router: Annotated[Router, policy("sim.cluster.routers")] = LeastLoaded()
    """Which decode engine its KV goes to."""
    pair_at: Literal["arrival", "prefill_end"] = "prefill_end"
    """When the decode engine is chosen and its blocks are asked for."""
    first_token: Literal["prefill", "decode"] = "prefill"
    """Where the first token becomes visible: with the prompt's last pass, or when the KV has
    arrived at the decode engine."""
    stream: bool = False
    """Send KV layer by layer behind the pass that completes the prompt, as one flow that is fed no
    faster than the pass makes KV, and a tail of one layer. Needs `pair_at: arrival`."""

    def __post_init__(self) -> None:
        if isinstance(self.decode_router, PrefixAffinity):
            raise ValueError(
                "decode_router prefix_affinity has nothing to go by: the whole KV cache is sent, "
                "whatever a decode engine holds; write another router"
            )
        if self.stream and self.pair_at != "arrival":
            raise ValueError(
                "stream needs a decode engine while the prompt is computed; "
                "write pair_at: arrival, or leave stream out"
            )

    def pools(self) -> tuple[str, ...]:
        """The two."""
        if self.prefill == self.decode:
            raise ScenarioError(
                f"deployment.disaggregated: prefill and decode are both '{self.prefill}'; "
                "name two pools, or use the aggregated deployment"
            )
        return (self.prefill, self.decode)

    def start(self, services: ClusterServices) -> _Disaggregated:
        """Views of both pools, and the handoffs between them."""
        src, dst = services.pools[self.prefill], services.pools[self.decode]
        running = _Disaggregated(
            plan=self,
            services=services,
            handoffs=Handoffs(services, src, dst, self._arrived(services)),
            prefill=services.views[self.prefill],
            decode=services.views[self.decode],
            prefill_engines=frozenset(e.number for e in src.engines),
            router=self.router.start(services.draws("router")),
            decode_router=self.decode_router.start(services.draws("decode_router")),
        )
        if self.stream:
            for engine in src.engines:
                engine.on_last_pass = running.handoffs.stream
        return running

    def _arrived(self, services: ClusterServices) -> Callable[[Handoff], None]:
        """What an arrival at the decode engine means to the client."""
        if self.first_token == "prefill":
            return lambda handoff: None
        return lambda handoff: services.ears.first_token(handoff.sequence)


@dataclass(eq=False, slots=True)
class _Disaggregated:
    plan: Disaggregated
    services: ClusterServices
    handoffs: Handoffs
    prefill: View
    decode: View
    prefill_engines: frozenset[int]
    router: Route
    decode_router: Route

    def accept(self, sequence: Sequence) -> None:
        engine, rank = self.prefill.seat(self.router.pick(sequence.ask, self.prefill))
        if self.plan.pair_at == "arrival":
            self._pair(sequence, engine, rank)
        engine.submit(rank, sequence)

    def _pair(self, sequence: Sequence, engine: Engine, rank: int) -> Handoff:
        seat = self.decode_router.pick(sequence.ask, self.decode)
        return self.handoffs.open(sequence, (engine, rank), self.decode.seat(seat))

    def refuses(self, prompt_tokens: int, total_tokens: int) -> str:
        src, dst = self.handoffs.src.engines[0], self.handoffs.dst.engines[0]
        return src.refuses(prompt_tokens) or dst.refuses(total_tokens)

    def cancel(self, sequence: Sequence) -> None:
        self.handoffs.cancel(sequence.number)
        withdraw(sequence, lambda: self.services.ears.cancelled(sequence))

    def move(self, sequence: Sequence, engine: Engine, rank: int, *, send_kv: bool) -> None:
        raise BrokenInvariant(
            f"request {sequence.number} was to move to engine {engine.number}, but a disaggregated "
            "deployment moves nobody"
        )

    def keeps(self, engine: Engine, sequence: Sequence) -> bool:
        return engine.number not in self.prefill_engines

    def prefilled(self, engine: Engine, rank: int, sequence: Sequence, left: int) -> None:
        if engine.number not in self.prefill_engines:
            return
        if self.plan.first_token == "prefill" or not left:
            self.services.ears.first_token(sequence)
        if not left:
            self.handoffs.cancel(sequence.number)
            return
        if engine.departures.is_leaving(sequence):
            return
        handoff = self.handoffs.under_way.get(sequence.number)
        self.handoffs.ready(handoff or self._pair(sequence, engine, rank))

    def finished(self, engine: Engine, rank: int, sequence: Sequence) -> None:
        self.services.ears.finished(sequence, engine.number)

    def lost(self, engine: Engine, rank: int, sequence: Sequence) -> None:
        if engine.number in self.prefill_engines:
            self.handoffs.cancel(sequence.number)
        self.services.ears.failed(sequence)
