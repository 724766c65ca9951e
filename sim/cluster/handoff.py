"""KV caches on their way from a prefill engine to a decode engine.

Blocks at the destination are reserved before bytes move, in order of asking; without room a handoff
waits, it is never dropped. The source keeps its blocks until the last byte has arrived. A streamed
handoff is one flow behind the pass that completes the prompt, capped at the pace at which that
pass makes KV, and a tail of one layer.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from sim.cluster.pool import Pool
from sim.cluster.services import ClusterServices
from sim.engine.engine import Engine
from sim.engine.sequence import NAN, Sequence
from sim.network.fabric import Bundle
from sim.perf.kv_route import KvRoute, kv_route

HANDOFF = 0
"""Code of a handoff in the `transfers` table."""

Seat = tuple[Engine, int]


@dataclass(eq=False, slots=True)
class Handoff:
    """One KV cache's way. Times are NaN until they come."""

    number: int
    sequence: Sequence
    src: Seat
    dst: Seat
    asked_s: float
    nbytes: float
    bundle: Bundle
    reserved_s: float = NAN
    ready_s: float = NAN
    start_s: float = NAN
    body_done_s: float = NAN
    """When all but the tail of a streamed handoff had arrived."""
    streamed: bool = False
    cancelled: bool = False


@dataclass(eq=False, slots=True)
class Handoffs:
    """All handoffs from one pool to another."""

    services: ClusterServices
    src: Pool
    dst: Pool
    arrived: Callable[[Handoff], None]
    """Told when a KV cache is there."""
    under_way: dict[int, Handoff] = field(default_factory=dict)
    """By request."""
    _opened: int = 0
    _routes: dict[tuple[int, int, int, int], tuple[KvRoute, Bundle]] = field(default_factory=dict)

    def open(self, sequence: Sequence, src: Seat, dst: Seat) -> Handoff:
        """Pair two seats and ask for room at the destination."""
        clock = self.services.clock
        route, bundle = self._route(src, dst)
        handoff = Handoff(
            number=self._opened,
            sequence=sequence,
            src=src,
            dst=dst,
            asked_s=clock.now,
            nbytes=route.nbytes(max(sequence.ask.prompt_tokens, sequence.computed)),
            bundle=bundle,
        )
        self._opened += 1
        self.under_way[sequence.number] = handoff
        dst[0].reserve(
            dst[1], sequence, lambda: self._granted(handoff), lambda: self._lost(handoff)
        )
        return handoff

    def _route(self, src: Seat, dst: Seat) -> tuple[KvRoute, Bundle]:
        key = (src[0].number, src[1], dst[0].number, dst[1])
        found = self._routes.get(key)
        if found is None:
            first, second = self.src.engines[0].number, self.dst.engines[0].number
            route = kv_route(self.src, key[0] - first, key[1], self.dst, key[2] - second, key[3])
            found = self._routes[key] = (route, self.services.topology.bundle(route.pairs))
        return found

    def _granted(self, handoff: Handoff) -> None:
        handoff.reserved_s = self.services.clock.now
        self._go_on(handoff)

    def ready(self, handoff: Handoff) -> None:
        """What is to be sent is computed."""
        handoff.ready_s = self.services.clock.now
        self._go_on(handoff)

    def cancel(self, number: int) -> None:
        """The request ended in the prefill pool, was lost there, or was given up: give the room
        back. Bytes that are on their way cross the links all the same."""
        handoff = self.under_way.pop(number, None)
        if handoff is not None:
            handoff.cancelled = True
            engine, rank = handoff.dst
            engine.unreserve(rank, handoff.sequence)

    def _lost(self, handoff: Handoff) -> None:
        """A fault took the room. For a prompt that is still being computed it is asked for again,
        at once, so that promises stay in order; a KV cache that was waiting or on its way is lost
        with its request."""
        del self.under_way[handoff.sequence.number]
        handoff.cancelled = True
        if handoff.ready_s != handoff.ready_s:
            self.open(handoff.sequence, handoff.src, handoff.dst)
            return
        engine, rank = handoff.src
        engine.release(rank, handoff.sequence)
        self.services.ears.failed(handoff.sequence)

    def _go_on(self, handoff: Handoff) -> None:
        """Send what has not been sent, once the prompt is computed, there is room for it, and the
        body of a streamed handoff has arrived."""
        if handoff.ready_s != handoff.ready_s or handoff.reserved_s != handoff.reserved_s:
            return
        if not handoff.streamed:
            handoff.start_s = self.services.clock.now
        elif handoff.body_done_s != handoff.body_done_s:
            return
        rest = handoff.nbytes / self._layers if handoff.streamed else handoff.nbytes
        self.services.fabric.send(handoff.bundle, rest, lambda: self._close(handoff, rest))

    @property
    def _layers(self) -> int:
        return len(self.src.model.layers)

    def _close(self, handoff: Handoff, last_bytes: float) -> None:
        clock, bundle = self.services.clock, handoff.bundle
        if handoff.cancelled:
            return
        del self.under_way[handoff.sequence.number]
        self.services.log.transfers(
            (
                handoff.number,
                handoff.sequence.number,
                HANDOFF,
                handoff.src[0].number,
                handoff.dst[0].number,
                handoff.nbytes,
                handoff.asked_s,
                handoff.reserved_s,
                handoff.start_s,
                handoff.ready_s,
                clock.now,
                self._alone_s(handoff, last_bytes),
                bundle.alone_bytes_per_s,
            )
        )
        (src, src_rank), (dst, dst_rank) = handoff.src, handoff.dst
        if src.version != dst.version:
            handoff.sequence.mark(src.version)
        src.release(src_rank, handoff.sequence)
        self.arrived(handoff)
        dst.arrive(dst_rank, handoff.sequence)

    def _alone_s(self, handoff: Handoff, last_bytes: float) -> float:
        """Seconds after max(start, ready) that the way takes without other traffic."""
        bundle = handoff.bundle
        last = bundle.latency_s + last_bytes / bundle.alone_bytes_per_s
        if not handoff.streamed:
            return last
        body = (handoff.nbytes - last_bytes) / bundle.alone_bytes_per_s
        made = handoff.ready_s - handoff.start_s
        return max(0.0, body - made) + bundle.latency_s + last

    def stream(
        self, engine: Engine, rank: int, sequence: Sequence, start_s: float, end_s: float
    ) -> None:
        """The pass that completes the prompt begins: send behind it what it and those before it
        make, all layers but the last."""
        handoff = self.under_way.get(sequence.number)
        if handoff is None or handoff.reserved_s != handoff.reserved_s or end_s <= start_s:
            return
        body = handoff.nbytes * (self._layers - 1) / self._layers
        handoff.streamed, handoff.start_s = True, start_s
        self.services.fabric.send(
            handoff.bundle,
            body,
            lambda: self._body_done(handoff),
            rate_cap_bytes_per_s=body / (end_s - start_s) if body else float("inf"),
        )

    def _body_done(self, handoff: Handoff) -> None:
        handoff.body_done_s = self.services.clock.now
        if not handoff.cancelled:
            self._go_on(handoff)
