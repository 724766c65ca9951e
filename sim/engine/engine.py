"""One model replica as a SimPy process: decide, price, wait, commit.

An engine has R ranks (attention data parallelism; they step together) and S slots (passes in flight
in its pipeline). Every slot is a process with the same four beats. One event a step; a leap is one
event for many.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Generator
from collections.abc import Sequence as Many
from itertools import accumulate

from simpy.events import Event

from sim.clock import DECIDE, STEP_END
from sim.engine.batchers import Batcher
from sim.engine.flight import FIRST_PIECE, Flight
from sim.engine.lane import Lane
from sim.engine.ports import Gauges, LastPass, Services
from sim.engine.rank import Chunk, Rank, Reservation
from sim.engine.sequence import Sequence
from sim.engine.track import Track
from sim.errors import BrokenInvariant
from sim.perf.shape import StepShape, capped_pairs, pairs
from sim.perf.step_timer import StepTimer
from sim.engine.stays import DECODING, FAILED, FINISHED, HANDED_OFF, PREEMPTED, UNFINISHED, Stays
from sim.record.tables import ENGINE_STATES, NONE

RUNNING, PAUSED, STOPPED = range(len(ENGINE_STATES))


class Engine:
    """A replica. `submit` gives it work; its `Port` hears what becomes of it."""

    def __init__(
        self,
        number: int,
        *,
        services: Services,
        timer: StepTimer,
        ranks: list[Rank],
        batcher: Batcher,
        gauges: Gauges,
        leap: bool,
    ) -> None:
        self.number = number
        self.services = services
        self.clock = services.clock
        self.ranks = ranks
        self.timer = timer
        self.gauges = gauges
        self.on_last_pass: LastPass | None = None
        """Told when the pass that completes a prompt begins (to stream its KV)."""
        self.state = RUNNING
        self._stays = Stays(number, services)
        self._batcher = batcher
        self._mixed = batcher.mixed
        self._slots = timer.stages
        self._leap = leap and timer.stages == 1
        self._factor = 1.0
        self._stage_free = [0.0] * timer.stages
        self._prefill_shapes = [StepShape() for _ in ranks]
        self._flights = [self._flight(slot) for slot in range(self._slots)]
        for rank in ranks:
            rank.preempted = self._preempted
        for flight in self._flights:
            self.clock.process(self._serve(flight))
        self._log_state()

    def _flight(self, slot: int) -> Flight:
        emit, slots = self.services.log.steps, self._slots
        decode = Track(self.number, slot, emit)
        prefill = decode if self._mixed else Track(self.number, slots + slot, emit)
        order = self.number * slots + slot
        return Flight(slot=slot, order=order, decode_track=decode, prefill_track=prefill)

    # ---- the loop

    def _serve(self, flight: Flight) -> Generator[Event, None, None]:
        clock, step_end, deciding = self.clock, STEP_END + flight.order, DECIDE + flight.order
        while True:
            while self._stage_free[0] > clock.now:
                yield clock.at(self._stage_free[0], deciding)
            if not self._decide(flight):
                flight.resting = True
                flight.wake = clock.event()
                yield flight.wake
                flight.resting = False
                continue
            self._price(flight)
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
        if self.state != RUNNING:
            return False
        flight.prefills = flight.decodes = False
        flight.chunks.clear()
        sent_back = False
        for rank in self.ranks:
            lane = rank.lanes[flight.slot]
            if rank.arrived:
                rank.join_arrived(lane, self._remaining)
            if self._mixed and lane.shape.decodes:
                sent_back = rank.grow(lane)
                flight.decodes |= lane.shape.decodes > 0
            chunks: list[Chunk] = []
            if rank.prefilling or len(rank.waiting):
                chunks = self._batcher.plan(rank, lane, not sent_back)
                flight.prefills |= bool(chunks)
            flight.chunks.append(chunks)
        if not self._mixed and not flight.prefills:
            self._grow_all(flight)
        if not flight.prefills and not flight.decodes:
            return False
        self._begin(flight)
        return True

    def _grow_all(self, flight: Flight) -> None:
        for rank in self.ranks:
            lane = rank.lanes[flight.slot]
            if lane.shape.decodes:
                rank.grow(lane)
                flight.decodes |= lane.shape.decodes > 0

    def _begin(self, flight: Flight) -> None:
        """Shapes and journal of the pass."""
        lanes = [rank.lanes[flight.slot] for rank in self.ranks]
        if flight.prefills and not self._mixed:
            flight.decodes = False
            flight.track, flight.shapes = flight.prefill_track, self._prefill_shapes
        else:
            flight.decodes = True
            flight.track, flight.shapes = flight.decode_track, [lane.shape for lane in lanes]
        same = not flight.prefills
        for lane in lanes:
            same = same and not lane.changed
            lane.changed = flight.prefills
            lane.flying = flight.decodes
        if flight.prefills:
            for shape, chunks in zip(flight.shapes, flight.chunks, strict=True):
                self._fill(shape, chunks)
        gap = 0.0
        if flight.track is flight.decode_track:
            gap, flight.prefill_only_s = flight.prefill_only_s, 0.0
        flight.track.begin(
            self.clock.now, flight.shapes, self.ranks, same=same, prefill_gap_s=gap
        )

    def _fill(self, shape: StepShape, chunks: Many[Chunk]) -> None:
        """Add the prompt chunks to a rank's shape."""
        now, caps = self.clock.now, self.timer.caps
        for chunk in chunks:
            offset, tokens = chunk.offset, chunk.tokens
            shape.prefills += 1
            shape.prefill_tokens += tokens
            shape.prefill_pairs += pairs(offset, tokens)
            shape.prefill_kv_tokens += offset + tokens
            shape.sampled += chunk.last
            for i, cap in enumerate(caps):
                shape.capped_pairs[i] += capped_pairs(offset, tokens, cap)
            sequence = chunk.sequence
            if sequence.last_step == NONE:
                self._first_step(sequence, now)

    def _first_step(self, sequence: Sequence, now_s: float) -> None:
        """A stay's first step begins."""
        if sequence.first_step_s != sequence.first_step_s:
            sequence.first_step_s = now_s
            sequence.first_engine = self.number
        sequence.first_step = NONE

    # ---- price

    def _price(self, flight: Flight) -> None:
        """When each pass of the flight ends."""
        now, factor = self.clock.now, self._factor
        flight.begun_s, flight.grown = now, 1
        flight.pipeline_s = flight.contention_s = 0.0
        if self._slots > 1:
            flight.ends = [self._through_stages(flight, now)]
        elif self._leap and not flight.prefills and factor == 1.0:
            passes = min(
                [r.horizon(r.lanes[flight.slot], flight.piece) for r in self.ranks]
            )
            if passes > 1:
                seconds = self.timer.price_run(flight.shapes, passes)
                flight.ends = list(accumulate(seconds, initial=now))[1:]
            else:
                flight.ends = [now + self.timer.price(flight.shapes)]
            flight.piece *= 2
        else:
            flight.ends = [now + self.timer.price(flight.shapes)]
            flight.piece = FIRST_PIECE
        if factor != 1.0 and self._slots == 1:
            flight.stretch(now, factor)
        if self.on_last_pass and flight.prefills:
            self._announce(flight)

    def _through_stages(self, flight: Flight, now: float) -> float:
        """End of the last stage; every stage serves passes in order."""
        ready, waited, free = now, 0.0, self._stage_free
        for i, seconds in enumerate(self.timer.price_stages(flight.shapes)):
            start = free[i] if free[i] > ready else ready
            waited += start - ready
            ready = start + seconds * self._factor
            free[i] = ready
        flight.pipeline_s = waited
        self._wake_others(flight)
        return ready

    def _wake_others(self, flight: Flight) -> None:
        """Slots that rest may take what this one has left, once the first stage is free."""
        if any(len(r.waiting) or r.prefilling or r.arrived for r in self.ranks):
            for other in self._flights:
                if other.resting:
                    other.retime(self.clock, self.clock.now, DECIDE + other.order)

    def _announce(self, flight: Flight) -> None:
        for rank, chunks in enumerate(flight.chunks):
            for chunk in chunks:
                if chunk.last and self.on_last_pass:
                    self.on_last_pass(
                        self, rank, chunk.sequence, self.clock.now, flight.ends[-1]
                    )

    # ---- commit

    def _commit(self, flight: Flight) -> None:
        """Count the tokens of the passes that ended; finish, hand off and free."""
        track, ends = flight.track, flight.ends
        step = len(track.ends)
        track.commit(ends, flight.pipeline_s, flight.contention_s)
        if flight.decodes:
            for rank in self.ranks:
                self._commit_decodes(rank, flight, len(ends))
        else:
            flight.prefill_only_s += sum(end - flight.begun_s for end in ends)
        if flight.prefills:
            for shape in flight.shapes:
                _empty(shape)
            for rank, chunks in zip(self.ranks, flight.chunks, strict=True):
                for chunk in chunks:
                    self._commit_chunk(rank, flight, chunk, step)
        if flight.aborted:
            self._lose_everything()
        for rank in self.ranks:
            if rank.asked:
                rank.grant()
        if self._slots > 1:
            self._wake_others(flight)

    def _commit_decodes(self, rank: Rank, flight: Flight, passes: int) -> None:
        lane = rank.lanes[flight.slot]
        lane.flying = False
        if passes > flight.grown:
            self._take_growth(rank, flight, passes)
        lane.advance(passes)
        while (sequence := lane.finisher()) is not None:
            rank.settle_growth(sequence)
            lane.leave(sequence)
            self._stays.decode(rank.index, lane, flight.slot, sequence, FINISHED)
            self._finish(rank, sequence)

    def _take_growth(self, rank: Rank, flight: Flight, passes: int) -> None:
        units = rank.lanes[flight.slot].growth_between(flight.grown, passes)
        if not rank.cache.take(units):
            raise BrokenInvariant(
                f"engine {self.number} leapt over {units} KV units at {self.clock.now} s "
                f"with {rank.cache.available} available"
            )

    def _finish(self, rank: Rank, sequence: Sequence) -> None:
        rank.running.pop(sequence, None)
        rank.release(sequence)
        self.gauges.requests[rank.index] -= 1
        self.services.port.finished(self, rank.index, sequence)

    def _commit_chunk(self, rank: Rank, flight: Flight, chunk: Chunk, step: int) -> None:
        sequence, number = chunk.sequence, flight.track.number
        sequence.chunks -= 1
        if sequence.first_step == NONE:
            sequence.first_step = step
        sequence.last_step, sequence.track = step, number
        sequence.stay_tokens += chunk.tokens
        self.services.log.chunks(
            (sequence.number, self.number, rank.index, number, step, chunk.tokens, chunk.offset)
        )
        self.gauges.tokens[rank.index] -= chunk.tokens
        rank.publish(sequence, chunk.offset + chunk.tokens)
        if chunk.last:
            self._prefilled(rank, flight, sequence)

    def _prefilled(self, rank: Rank, flight: Flight, sequence: Sequence) -> None:
        """The prompt is computed and the next token sampled."""
        now, port = self.clock.now, self.services.port
        sequence.generated += 1
        left = self._remaining(sequence)
        keeps = left > 0 and port.keeps(self, sequence)
        closed = DECODING if keeps else HANDED_OFF if left else FINISHED
        self._stays.prefill(rank.index, sequence, closed, now)
        port.prefilled(self, rank.index, sequence, left)
        if keeps:
            rank.lanes[flight.slot].join(sequence, left)
        elif left:
            del rank.running[sequence]
            rank.held[sequence] = None
            self.gauges.requests[rank.index] -= 1
        else:
            self._finish(rank, sequence)

    def _remaining(self, sequence: Sequence) -> int:
        return self.services.sampler.remaining(sequence.number, sequence.generated)

    # ---- what others may ask of it

    def submit(self, rank: int, sequence: Sequence) -> None:
        """A sequence whose prompt is to be computed joins the waiting line of a rank."""
        sequence.enter_s = self.clock.now
        self.gauges.requests[rank] += 1
        self.gauges.tokens[rank] += sequence.target - sequence.computed
        self.ranks[rank].waiting.push(sequence)
        self.poke()

    def reserve(self, rank: int, sequence: Sequence, granted: Callable[[], None]) -> None:
        """Ask for KV room for a sequence that comes from elsewhere; `granted` is called at once
        or when there is room."""
        self.settle()
        mine = self.ranks[rank]
        context = mine.limits.context_tokens
        whole = mine.preemption.reservation_tokens(sequence, context)
        units = mine.units_for(whole or sequence.ask.prompt_tokens)
        self.gauges.requests[rank] += 1
        mine.reserve(Reservation(sequence, units, granted, whole is not None))
        self.poke()

    def arrive(self, rank: int, sequence: Sequence) -> None:
        """The KV of a sequence with a reservation is here: it decodes from the next pass on."""
        sequence.enter_s = self.clock.now
        self.ranks[rank].take_in(sequence)
        self.poke()

    def release(self, rank: int, sequence: Sequence) -> None:
        """The KV of a handed-off sequence has been sent: free it."""
        self.settle()
        mine = self.ranks[rank]
        del mine.held[sequence]
        mine.release(sequence)
        mine.grant()
        self.poke()

    def unreserve(self, rank: int, sequence: Sequence) -> None:
        """A sequence that asked for room does not come after all."""
        self.settle()
        self.gauges.requests[rank] -= 1
        self.ranks[rank].unreserve(sequence)
        self.poke()

    def refuses(self, tokens: int) -> str:
        """Why a sequence that grows to `tokens` tokens can never be served here; empty if it
        can. All ranks are alike."""
        mine = self.ranks[0]
        if tokens > mine.limits.context_tokens:
            return "context"
        return "kv_pool" if mine.units_for(tokens) > mine.cache.capacity else ""

    def poke(self) -> None:
        """Something has changed: wake those who rest, end a leap with its pass in progress."""
        for flight in self._flights:
            if flight.resting:
                flight.retime(self.clock, self.clock.now, DECIDE + flight.order)
            elif flight.flying and len(flight.ends) > 1:
                flight.cut(self.clock, STEP_END + flight.order)

    def settle(self) -> None:
        """Bring the KV pool up to now in mid-leap (views and reservations read it)."""
        for flight in self._flights:
            if flight.flying and flight.decodes and len(flight.ends) > 1:
                begun = flight.passes_begun(self.clock.now)
                if begun > flight.grown:
                    for rank in self.ranks:
                        self._take_growth(rank, flight, begun)
                    flight.grown = begun

    def pause(self) -> None:
        """Stop after the passes in progress."""
        self._change(PAUSED)
        self.poke()

    def resume(self) -> None:
        """Go on after a pause or a fault."""
        self._change(RUNNING)
        self.poke()

    def rerate(self, factor: float) -> None:
        """From now on work takes `factor` times as long as priced; the pass in progress is
        re-timed (in a pipeline only later passes are)."""
        relative, self._factor = factor / self._factor, factor
        if self._slots > 1:
            return
        for flight in self._flights:
            if flight.flying:
                flight.cut(self.clock, STEP_END + flight.order)
                flight.stretch(self.clock.now, relative)
                flight.retime(self.clock, flight.ends[0], STEP_END + flight.order)

    def abort(self) -> None:
        """A fault: passes in progress are lost, completed ones kept, every sequence is reported
        `lost` and the KV cache is empty. The engine is stopped until `resume`."""
        self._change(STOPPED)
        flying = [f for f in self._flights if f.flying]
        for flight in flying:
            del flight.ends[bisect_right(flight.ends, self.clock.now) :]
            flight.chunks = [[] for _ in self.ranks]
            flight.aborted = True
            flight.retime(self.clock, self.clock.now, STEP_END + flight.order)
        if not flying:
            self._lose_everything()

    def _change(self, state: int) -> None:
        self.state = state
        self._log_state()

    def _log_state(self) -> None:
        self.services.log.engines((self.number, self.clock.now, self.state))

    def _lose_everything(self) -> None:
        for flight in self._flights:
            flight.aborted = False
        for rank in self.ranks:
            for sequence in rank.drop_all():
                self._close(rank, sequence, FAILED)
                self.gauges.requests[rank.index] -= 1
                self.gauges.tokens[rank.index] = 0
                self.services.port.lost(self, rank.index, sequence)

    def check_empty(self) -> None:
        """Nobody is left, so every KV unit must be back."""
        for rank in self.ranks:
            if rank.cache.used or rank.running or rank.promised or rank.held:
                raise BrokenInvariant(
                    f"engine {self.number}, rank {rank.index} holds {rank.cache.used} KV units "
                    f"of nobody at the end, {self.clock.now} s"
                )

    def close(self) -> None:
        """The run is over: write what is open. Unfinished stays are logged as such."""
        for flight in self._flights:
            if flight.flying:
                flight.ends = flight.ends[: bisect_right(flight.ends, self.clock.now)]
                flight.track.commit(flight.ends, flight.pipeline_s, 0.0)
                if flight.decodes:
                    for rank in self.ranks:
                        rank.lanes[flight.slot].advance(len(flight.ends))
            flight.decode_track.close()
            flight.prefill_track.close()
        for rank in self.ranks:
            for sequence in rank.everyone():
                self._close(rank, sequence, UNFINISHED)

    def _close(self, rank: Rank, sequence: Sequence, closed: int) -> None:
        lane = sequence.lane
        if lane is not None:
            slot = rank.lanes.index(lane)
            lane.leave(sequence)
            self._stays.decode(rank.index, lane, slot, sequence, closed)
        else:
            self._stays.prefill(rank.index, sequence, closed, self.clock.now)

    def _preempted(self, rank: Rank, sequence: Sequence, lane: Lane | None) -> None:
        """A rank has sent a sequence back: its stay ends and the next one begins."""
        self._close_stay(rank, sequence, lane)
        self.gauges.tokens[rank.index] += sequence.ask.prompt_tokens + sequence.generated

    def _close_stay(self, rank: Rank, sequence: Sequence, lane: Lane | None) -> None:
        if lane is None:
            self.gauges.tokens[rank.index] -= sequence.target - sequence.computed
            self._stays.prefill(rank.index, sequence, PREEMPTED, self.clock.now)
        else:
            slot = rank.lanes.index(lane)
            self._stays.decode(rank.index, lane, slot, sequence, PREEMPTED)

    def tracks(self) -> list[Track]:
        """Every clock of the engine, by track number."""
        decode = [f.decode_track for f in self._flights]
        return decode if self._mixed else decode + [f.prefill_track for f in self._flights]


def _empty(shape: StepShape) -> None:
    """Take the prompt chunks out of a shape again."""
    shape.sampled = shape.decodes
    shape.prefills = shape.prefill_tokens = shape.prefill_pairs = shape.prefill_kv_tokens = 0
    for i in range(len(shape.capped_pairs)):
        shape.capped_pairs[i] = 0
