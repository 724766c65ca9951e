"""One model replica as a SimPy process: decide, price, wait, commit.

An engine has R ranks (attention data parallelism; they step together) and S slots (passes in flight
in its pipeline). Every slot is a process with the same four beats. One event a step; a leap is one
event for many.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from collections.abc import Sequence as Many

from simpy.events import Event

from sim.clock import DECIDE, STEP_END
from sim.engine.batchers import Batcher
from sim.engine.departures import Departures
from sim.engine.flight import NO_CHUNKS, Flight
from sim.engine.levers import RUNNING, Levers
from sim.engine.pacer import Pacer
from sim.engine.ports import Gauges, LastPass, Port, Services
from sim.engine.rank import Chunk, Rank
from sim.engine.reservations import Reservation
from sim.engine.sequence import Sequence
from sim.engine.stays import DECODING, FINISHED, HANDED_OFF, PREEMPTED, Stays
from sim.engine.track import Track
from sim.engine.turns import Turns
from sim.engine.verify_lane import AnyLane
from sim.perf.shape import StepShape
from sim.record.tables import NONE


class Engine:
    """A replica. `submit` gives it work; its `port` hears what becomes of it."""

    def __init__(
        self,
        number: int,
        *,
        services: Services,
        pacer: Pacer,
        ranks: list[Rank],
        batcher: Batcher,
        gauges: Gauges,
    ) -> None:
        self.number = number
        self.clock = services.clock
        self.ranks = ranks
        self.pacer = pacer
        self.gauges = gauges
        self.port: Port
        """Who hears of its sequences; set before anything is submitted."""
        self.on_last_pass: LastPass | None = None
        """Told when the pass that completes a prompt begins (to stream its KV)."""
        self.state = RUNNING
        self.stays = Stays(number, services.clock, services.log.intervals)
        self._sampler = services.sampler
        self._log_chunk = services.log.chunks
        self._batcher = batcher
        self._mixed = batcher.mixed
        self._sent_back = False
        """Somebody was preempted in this beat."""
        slots, log = pacer.timer.stages, services.log
        self.flights = [
            Flight.of(number, slot, slots, ranks, log, mixed=self._mixed) for slot in range(slots)
        ]
        self.turns = Turns(services.clock, pacer, self.flights)
        self.version = 0
        """Of its weights."""
        self.departures = Departures(self)
        self.levers = Levers(self, services.log.engines)
        for rank in ranks:
            rank.preempted = self._preempted
        for flight in self.flights:
            self.clock.process(self._serve(flight))

    # ---- the loop

    def _serve(self, flight: Flight) -> Generator[Event, None, None]:
        clock, step_end, deciding = self.clock, STEP_END + flight.order, DECIDE + flight.order
        pipelined = len(self.flights) > 1
        while True:
            while pipelined and (ahead := self.turns.ahead(flight)) is not None:
                yield ahead
            if not self._decide(flight):
                if self._sent_back:
                    continue  # the last one running gave up its place: look again who may run
                flight.resting = True
                flight.wake = clock.event()
                yield flight.wake
                continue
            self.pacer.price(flight)
            if flight.prefills and self.on_last_pass:
                self._announce(flight)
            if pipelined:
                self._wake_others()
            flight.wake = clock.at(flight.ends[-1], step_end)
            flight.flying = True
            yield flight.wake
            flight.flying = False
            self._commit(flight)
            if clock.instant_is_open():
                yield clock.at(clock.now, deciding)

    # ---- decide

    def _decide(self, flight: Flight) -> bool:
        """Who takes part in the next pass of the slot; False when there is nothing to do."""
        self._sent_back = False
        if self.state != RUNNING or not self.turns.admits(flight):
            return False
        if flight.drafting is not None:
            flight.drafting.begin(flight, self._remaining)
        prefills, decodes, mixed, chunks = False, 0, self._mixed, flight.chunks
        for rank, lane in flight.seats:
            if rank.arrived:
                rank.join_arrived(lane, self._remaining)
            if mixed and lane.shape.decodes:
                rank.grow(lane)
            decodes += lane.shape.decodes
        for i, (rank, lane) in enumerate(flight.seats):
            chunks[i] = NO_CHUNKS
            if rank.prefilling or rank.waiting:
                chunks[i] = self._batcher.plan(rank, lane, not (rank.pressed and decodes))
                prefills = prefills or bool(chunks[i])
        if self._sent_back:
            decodes = sum(lane.shape.decodes for lane in flight.lanes)
        if not prefills:
            if not decodes:
                return False
            if not mixed:
                for rank, lane in flight.seats:
                    rank.grow(lane)
        flight.prefills = prefills
        flight.decodes = mixed or not prefills
        self._begin(flight)
        return True

    def _begin(self, flight: Flight) -> None:
        """Shapes and journal of the pass."""
        prefills = flight.prefills
        same = not prefills
        for lane in flight.lanes:
            if lane.changed:
                same = False
            lane.changed = prefills
            lane.flying = flight.decodes
        if flight.decodes:
            track, flight.shapes = flight.decode_track, flight.decode_shapes
            gap, flight.prefill_only_s = flight.prefill_only_s, 0.0
        else:
            track, flight.shapes, gap = flight.prefill_track, flight.prefill_shapes, 0.0
        flight.track = track
        if prefills:
            for shape, chunks in zip(flight.shapes, flight.chunks, strict=True):
                self._fill(shape, chunks)
        flight.begun_s = now = self.clock.now
        if not (same and track.continues(now)):
            track.begin(now, flight.shapes, self.ranks, gap)

    def _fill(self, shape: StepShape, chunks: Many[Chunk]) -> None:
        """Add the prompt chunks to a rank's shape."""
        caps = self.pacer.timer.caps
        for chunk in chunks:
            shape.add_prompt(chunk.offset, chunk.tokens, caps, last=chunk.last)
            sequence = chunk.sequence
            if sequence.last_step == NONE:
                sequence.first_step = NONE
                if sequence.first_step_s != sequence.first_step_s:
                    sequence.first_step_s = self.clock.now
                    sequence.first_engine = self.number

    def _wake_others(self) -> None:
        """Slots that rest may take what is left, once the first stage is free."""
        if any(r.waiting or r.prefilling or r.arrived for r in self.ranks):
            for flight in self.flights:
                if flight.resting:
                    flight.rouse(self.clock)

    def _announce(self, flight: Flight) -> None:
        """Tell whoever streams KV which prompts this pass completes."""
        for rank, chunks in enumerate(flight.chunks):
            for chunk in chunks:
                if chunk.last and self.on_last_pass:
                    end = flight.ends[-1]
                    self.on_last_pass(self, rank, chunk.sequence, flight.begun_s, end)

    # ---- commit

    def _commit(self, flight: Flight) -> None:
        """Count the tokens of the passes that ended; finish, hand off and free."""
        track, ends = flight.track, flight.ends
        step = track.steps
        track.commit(ends, flight.pipeline_s, flight.contention_s)
        if flight.decodes:
            flight.take_growth(len(ends))
        else:
            flight.prefill_only_s += sum(end - flight.begun_s for end in ends)
        for i, (rank, lane) in enumerate(flight.seats):
            if flight.decodes:
                self._commit_decodes(rank, lane, flight, len(ends))
            if flight.prefills:
                flight.shapes[i].drop_prefills()
                for chunk in flight.chunks[i]:
                    self._commit_chunk(rank, flight, chunk, step)
            if rank.room.asked:
                rank.room.grant()
        if flight.aborted:
            self.levers.lose_everything()
        if self.departures.awaited:
            self.departures.soon()
        if len(self.flights) > 1:
            self._wake_others()

    def _commit_decodes(self, rank: Rank, lane: AnyLane, flight: Flight, passes: int) -> None:
        lane.flying = rank.pressed = False
        lane.advance(passes)
        while lane.first_finish <= lane.tick:
            sequence = lane.finisher()
            if sequence is not None:
                rank.settle_growth(sequence)
                lane.leave(sequence)
                self.stays.decode(rank.index, lane.tick, flight.slot, sequence, FINISHED)
                self._finish(rank, sequence)

    def _finish(self, rank: Rank, sequence: Sequence) -> None:
        rank.finish(sequence)
        if self.version or sequence.versions:
            sequence.mark(self.version)
        self.gauges.left(rank.index)
        self.port.finished(self, rank.index, sequence)

    def _commit_chunk(self, rank: Rank, flight: Flight, chunk: Chunk, step: int) -> None:
        sequence, number = chunk.sequence, flight.track.number
        if sequence.first_step == NONE:
            sequence.first_step = step
        sequence.last_step, sequence.track = step, number
        self._log_chunk(
            (sequence.number, self.number, rank.index, number, step, chunk.tokens, chunk.offset)
        )
        self.gauges.computed(rank.index, rank.chunk_done(chunk))
        if chunk.last:
            self._prefilled(rank, flight, sequence)

    def _prefilled(self, rank: Rank, flight: Flight, sequence: Sequence) -> None:
        """The prompt is computed and the next token sampled."""
        sequence.generated += 1
        left = self._remaining(sequence)
        keeps = left > 0 and self.port.keeps(self, sequence)
        closed = DECODING if keeps else HANDED_OFF if left else FINISHED
        self.stays.prefill(rank.index, sequence, closed)
        self.port.prefilled(self, rank.index, sequence, left)
        if keeps:
            rank.lanes[flight.slot].join(sequence, left)
        elif left:
            del rank.running[sequence]
            rank.held[sequence] = None
            self.gauges.left(rank.index)
        else:
            self._finish(rank, sequence)

    def _remaining(self, sequence: Sequence) -> int:
        return self._sampler.remaining(sequence.number, sequence.generated)

    def _preempted(self, rank: Rank, sequence: Sequence, lane: AnyLane | None) -> None:
        """A rank has sent a sequence back: its stay ends and the next one begins."""
        self._sent_back = True
        left = sequence.target - sequence.computed if lane is None else 0
        self.stays.end(rank, lane, sequence, PREEMPTED)
        self.gauges.computed(rank.index, left - sequence.ask.prompt_tokens - sequence.generated)

    # ---- what others may ask of it

    def submit(self, rank: int, sequence: Sequence) -> None:
        """A sequence whose prompt is to be computed joins the waiting line of a rank."""
        sequence.enter_s = self.clock.now
        sequence.engine, sequence.rank = self, rank
        self.gauges.came(rank, sequence.target - sequence.computed)
        self.ranks[rank].waiting.push(sequence)
        self.poke()

    def reserve(
        self, rank: int, sequence: Sequence, granted: Callable[[], None], lost: Callable[[], None]
    ) -> None:
        """Ask for KV room for a sequence that comes from elsewhere; `granted` is called at once
        or when there is room, `lost` if a fault takes it before the sequence arrives."""
        self.settle()
        mine = self.ranks[rank]
        self.gauges.came(rank, 0)
        units, whole = mine.reservation_units(sequence)
        mine.room.ask(Reservation(sequence, units, granted, lost, whole))
        self._shorten()

    def unreserve(self, rank: int, sequence: Sequence) -> None:
        """A sequence that asked for room does not come after all."""
        self.settle()
        self.gauges.left(rank)
        self.ranks[rank].room.cancel(sequence)
        self.poke()

    def arrive(self, rank: int, sequence: Sequence) -> None:
        """The KV of a sequence with a reservation is here: it decodes from the next pass on."""
        sequence.enter_s = self.clock.now
        sequence.engine, sequence.rank = self, rank
        self.ranks[rank].take_in(sequence)
        self.poke()

    def release(self, rank: int, sequence: Sequence) -> None:
        """The KV of a handed-off sequence has been sent: free it."""
        self.settle()
        mine = self.ranks[rank]
        del mine.held[sequence]
        mine.release(sequence)
        mine.room.grant()
        if mine.waiting or mine.prefilling:
            self.poke()

    def refuses(self, tokens: int) -> str:
        """Why a sequence of `tokens` tokens can never be served here; empty if it can."""
        return self.ranks[0].refuses(tokens)

    def poke(self) -> None:
        """Something has changed: wake those who rest, end a leap with its pass in progress."""
        for flight in self.flights:
            if flight.resting:
                flight.rouse(self.clock)
            elif flight.leaping:
                flight.cut(self.clock, STEP_END + flight.order)

    def settle(self) -> None:
        """Bring the KV pool up to now in mid-leap (views and reservations read it)."""
        for flight in self.flights:
            if flight.leaping:
                flight.take_growth(flight.passes_begun(self.clock.now))

    def _shorten(self) -> None:
        """End a leap with its pass in progress if the KV units for the rest are gone."""
        for flight in self.flights:
            if flight.leaping and flight.lacks_room():
                flight.cut(self.clock, STEP_END + flight.order)

    def tracks(self) -> list[Track]:
        """Every clock of the engine, by track number."""
        decode = [f.decode_track for f in self.flights]
        return decode if self._mixed else decode + [f.prefill_track for f in self.flights]
