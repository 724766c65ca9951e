"""The cluster's door: requests come in, and their fates go out as rows and to the clients."""

from __future__ import annotations

from collections.abc import Callable, Generator

from simpy.events import Event

from sim.clock import ARRIVAL, Clock
from sim.cluster.admissions import Admission
from sim.cluster.deployments import Running
from sim.cluster.frontend import Desk
from sim.engine.engine import Engine
from sim.engine.sampler import Sampler
from sim.engine.sequence import Sequence
from sim.errors import BrokenInvariant
from sim.record.log import Log
from sim.record.tables import NONE, REASONS, STATES
from sim.workload.request import Happening, Request, Source

FINISHED, REJECTED, FAILED, UNFINISHED, CANCELLED = range(len(STATES))


_WHY = {FAILED: "fault", CANCELLED: "client"}


class Cluster:
    """Everything behind the door. Counts what comes in and what becomes of it."""

    def __init__(
        self,
        *,
        clock: Clock,
        log: Log,
        source: Source,
        sampler: Sampler,
        admission: Admission,
        desk: Desk | None = None,
    ) -> None:
        self.clock = clock
        self.arrived = 0
        self.ended = [0] * len(STATES)
        """Requests by end state."""
        self.last_end_s = 0.0
        self._log = log
        self._source = source
        self._sampler = sampler
        self._admission = admission
        self.on_end: Callable[[Request, Sequence], None] | None = None
        """Told of every request that ends, before the source is."""
        self._desk = desk
        self._inside: dict[int, tuple[Request, Sequence]] = {}
        self._deployment: Running
        self._next_s = float("inf")
        self._wake: Event | None = None

    @property
    def inside(self) -> int:
        """Requests that have not ended."""
        return len(self._inside)

    @property
    def first_inside(self) -> int | None:
        """The lowest number among them."""
        return min(self._inside, default=None)

    def open(self, deployment: Running) -> None:
        """Let the requests come."""
        self._deployment = deployment
        self.clock.process(self._arrivals())

    def _arrivals(self) -> Generator[Event, None, None]:
        """Every request at its time; when there is none at present, wait for a happening.

        One that comes at this very moment, before anything else happens, needs no event of its own
        (thousands may arrive at once).
        """
        clock, source = self.clock, self._source
        while True:
            time_s = source.peek()
            if time_s is not None and time_s <= clock.now and clock.would_be_next(ARRIVAL):
                self._accept(source.take())
                continue
            self._next_s = float("inf") if time_s is None else max(time_s, clock.now)
            self._wake = clock.event() if time_s is None else clock.at(self._next_s, ARRIVAL)
            yield self._wake
            self._wake = None
            if source.peek() is not None:
                self._accept(source.take())

    def _accept(self, request: Request) -> None:
        self.arrived += 1
        whole = request.prompt_tokens + request.output_tokens
        reason = self._deployment.refuses(request.prompt_tokens, whole)
        if not reason and not self._admission.admits(request, len(self._inside)):
            reason = "admission"
        sequence = Sequence(ask=request, number=request.number, target=request.prompt_tokens)
        if reason:
            self._row(request, sequence, REJECTED, NONE, REASONS.index(reason))
            self._tell(Happening.REJECTED, request)
            return
        self._sampler.learn(request)
        self._inside[request.number] = (request, sequence)
        if self._desk is None:
            self._deployment.accept(sequence)
            return
        ready = self.clock.at(self._desk.ready_s(self.clock.now, request.prompt_tokens), ARRIVAL)
        callbacks = ready.callbacks
        if callbacks is not None:
            callbacks.append(lambda _: self._past_the_desk(sequence))

    def _past_the_desk(self, sequence: Sequence) -> None:
        if sequence.number in self._inside:
            self._deployment.accept(sequence)

    def cancel(self, number: int) -> None:
        """The client gives a request up. It ends as cancelled as soon as no pass works on it, or
        as finished if that pass makes its last token."""
        if number not in self._inside:
            raise BrokenInvariant(f"request {number} is given up at {self.clock.now} s, but ended")
        sequence = self._inside[number][1]
        if sequence.engine is None:  # still at the desk
            self.cancelled(sequence)
        else:
            self._deployment.cancel(sequence)

    def move(self, number: int, engine: Engine, *, send_kv: bool = False) -> None:
        """A request that is in an engine goes on in another, when no pass works on it: computed
        again, or (`send_kv`) with its KV."""
        sequence = self._inside[number][1]
        self._deployment.move(sequence, engine, engine.gauges.idlest(), send_kv=send_kv)

    # ---- what the deployment tells

    def first_token(self, sequence: Sequence) -> None:
        """The client sees the first token now."""
        sequence.first_token_s = self.clock.now
        self._tell(Happening.FIRST_TOKEN, self._inside[sequence.number][0])

    def finished(self, sequence: Sequence, engine: int) -> None:
        """The client has everything."""
        self._end(sequence, FINISHED, engine, Happening.FINISHED)

    def failed(self, sequence: Sequence) -> None:
        """The request was lost."""
        self._end(sequence, FAILED, NONE, Happening.FAILED)

    def cancelled(self, sequence: Sequence) -> None:
        """No engine has it any more."""
        self._end(sequence, CANCELLED, NONE, Happening.CANCELLED)

    def _end(self, sequence: Sequence, state: int, engine: int, what: Happening) -> None:
        request, known = self._inside.pop(sequence.number)
        if known is not sequence:
            raise BrokenInvariant(f"request {sequence.number} ended twice at {self.clock.now} s")
        self._sampler.forget(sequence.number)
        reason = REASONS.index(_WHY[state]) if state in _WHY else 0
        self._row(request, sequence, state, engine, reason)
        if self.on_end is not None:
            self.on_end(request, sequence)
        self._tell(what, request)

    def _tell(self, what: Happening, request: Request) -> None:
        """The source hears of it, and may have something to send earlier than it had."""
        clock, source = self.clock, self._source
        if not source.listens:
            return
        source.on_event(what, request, clock.now)
        self.look_again()

    def look_again(self) -> None:
        """The source may have something to send earlier than it had."""
        if self._wake is not None:
            time_s, now = self._source.peek(), self.clock.now
            if time_s is not None and time_s < self._next_s:
                self._next_s = max(time_s, now)
                self._wake = self.clock.retime(self._wake, self._next_s, ARRIVAL)

    def _row(
        self, request: Request, sequence: Sequence, state: int, engine: int, reason: int
    ) -> None:
        self.ended[state] += 1
        self.last_end_s = now = self.clock.now
        self._log.requests(
            (
                request.number,
                request.arrival_s,
                request.prompt_tokens,
                request.output_tokens,
                sequence.generated,
                state,
                reason,
                sequence.first_step_s,
                sequence.first_token_s,
                now,
                max(0, sequence.cached_tokens),
                sequence.recomputed,
                sequence.preemptions,
                sequence.first_engine,
                engine,
            )
        )

    def close(self) -> None:
        """The run is over: those still inside are unfinished. Everything adds up, or it raises."""
        for request, sequence in sorted(self._inside.values(), key=lambda r: r[0].number):
            self._row(request, sequence, UNFINISHED, NONE, 0)
        self._inside.clear()
        if self.arrived != sum(self.ended):
            raise BrokenInvariant(f"{self.arrived} requests arrived and {self.ended} ended")
