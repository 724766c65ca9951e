"""One attention rank of an engine: its waiting line, KV cache, running sequences and lanes.

Here KV units are taken and given back, and sequences are let in, extended and sent back. Time does
not pass here; batchers ask, the engine's loop calls.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from sim.engine.limits import RankLimits
from sim.engine.orders import Line
from sim.engine.preemptions import Preemption
from sim.engine.prefixes import Prefixes
from sim.engine.reservations import Reservations
from sim.engine.sequence import Sequence
from sim.engine.verify_lane import AnyLane
from sim.errors import BrokenInvariant
from sim.kvcache.cache import KvCache
from sim.perf.memory import KvGroup
from sim.record.tables import NONE


@dataclass(eq=False, slots=True)
class Chunk:
    """A share of a pass that is given to a prompt."""

    sequence: Sequence
    tokens: int
    offset: int
    last: bool


class Rank:
    """The state of one rank."""

    __slots__ = (
        "_block",
        "_plain_units",
        "arrived",
        "cache",
        "groups",
        "held",
        "index",
        "lanes",
        "limits",
        "preempted",
        "preemption",
        "prefilling",
        "prefixes",
        "pressed",
        "room",
        "running",
        "sharers",
        "waiting",
    )

    def __init__(
        self,
        index: int,
        *,
        limits: RankLimits,
        groups: tuple[KvGroup, ...],
        cache: KvCache,
        line: Line,
        preemption: Preemption,
        lanes: list[AnyLane],
    ) -> None:
        self.index = index
        self.limits = limits
        self.groups = groups
        self._block = limits.block_tokens
        plain = len(groups) == 1 and groups[0].cap_tokens is None
        self._plain_units = groups[0].units if plain else 0
        """Units per block where there is one group without a cap, the common case; else 0."""
        self.cache = cache
        self.prefixes = Prefixes(cache, limits, groups[0].units)
        self.waiting = line
        self.preemption = preemption
        self.lanes = lanes
        self.sharers = len(lanes)
        """Slots among which those who are here are shared."""
        self.preempted: Callable[[Rank, Sequence, AnyLane | None], None] = _nobody
        """Told of a sequence that was just sent back, before it waits again."""
        self.pressed = False
        """Somebody was sent back and nobody has decoded since: KV is short, so nobody is let in."""
        self.running: dict[Sequence, None] = {}
        """Admitted, in order of admission."""
        self.prefilling: list[Sequence] = []
        """Running ones whose prompt is not fully scheduled yet."""
        self.arrived: deque[Sequence] = deque()
        """Those whose KV came from another engine and who wait for a place in a lane."""
        self.room = Reservations(cache, line)
        """For those whose KV comes from another engine."""
        self.held: dict[Sequence, None] = {}
        """Prefilled ones whose KV waits here for its transfer."""

    # ---- room

    def units_for(self, tokens: int) -> int:
        """KV units of a sequence of `tokens` tokens."""
        block = self._block
        if self._plain_units:
            return -(-tokens // block) * self._plain_units
        units = 0
        for g in self.groups:
            kept = tokens if g.cap_tokens is None or tokens < g.cap_tokens else g.cap_tokens
            units += -(-kept // block) * g.units
        return units

    def refuses(self, tokens: int) -> str:
        """Why a sequence of `tokens` tokens can never run here; empty if it can."""
        if tokens > self.limits.context_tokens:
            return "context"
        reach = min(tokens + self.limits.lookahead_tokens, self.limits.context_tokens)
        return "kv_pool" if self.units_for(reach) > self.cache.capacity else ""

    def release(self, sequence: Sequence) -> None:
        """Give back everything that a sequence holds."""
        if sequence.keys:
            self.cache.release(sequence.keys)
            sequence.keys = []
        self.cache.give(sequence.units)
        sequence.units = 0
        sequence.key_tokens = 0
        sequence.reserved = False

    def take_in(self, sequence: Sequence) -> None:
        """A sequence has come whose room was reserved."""
        self.room.settle(sequence)
        self.arrived.append(sequence)

    # ---- letting in

    def places(self, lane: AnyLane) -> int:
        """How many more sequences may join now. With several slots each gets an equal share of all
        there are, so that the pipeline stays full."""
        return self._places(lane, len(self.waiting))

    def _places(self, lane: AnyLane, newcomers: int) -> int:
        free = self.limits.max_num_seqs - len(self.running)
        if len(self.lanes) > 1:
            share = -(-(len(self.running) + newcomers) // self.sharers)
            free = min(free, share - lane.shape.decodes)
        return free

    def join_arrived(self, lane: AnyLane, remaining: Callable[[Sequence], int]) -> None:
        """Give those whose KV has come a place in the lane."""
        places = self._places(lane, len(self.arrived))
        while places > 0 and self.arrived:
            sequence = self.arrived.popleft()
            self.running[sequence] = None
            lane.join(sequence, remaining(sequence))
            places -= 1

    def admit(self, budget: int) -> Chunk | None:
        """Let in the next of the waiting line with up to `budget` tokens; None, and no change,
        when there is no room for it."""
        sequence = self.waiting.peek()
        keys = self.prefixes.match(sequence.ask)
        held = self.cache.acquire(keys) if keys else 0
        cached = self.prefixes.saved_tokens(sequence.ask, len(keys), sequence.target)
        tokens = sequence.target - cached
        if tokens > budget:
            tokens = budget
        needed = self.units_for(cached + tokens) - held
        reserve = self.preemption.reservation_tokens(sequence, self.limits.context_tokens)
        if reserve is not None:
            whole = min(self.units_for(reserve), self.cache.capacity)
            needed = max(needed, whole - held)
        if not self.cache.take(needed):
            if keys:
                self.cache.release(keys)
            return None
        self.waiting.pop()
        sequence.units, sequence.keys = needed, keys
        sequence.reserved = reserve is not None
        if keys:
            sequence.key_tokens = len(keys) * sequence.ask.block_tokens
        sequence.stay_cached = cached
        if sequence.cached_tokens == NONE:
            sequence.cached_tokens = cached
        self.running[sequence] = None
        sequence.computed = cached
        return self._chunk(sequence, tokens, waiting=True)

    def reservation_units(self, sequence: Sequence) -> tuple[int, bool]:
        """KV units for a sequence that comes with its prompt, or more of it, computed, and whether
        they cover its whole declared length."""
        context = self.limits.context_tokens
        whole = self.preemption.reservation_tokens(sequence, context)
        tokens = max(sequence.ask.prompt_tokens, sequence.computed)
        units = self.units_for(tokens if whole is None else max(tokens, whole))
        return min(units, self.cache.capacity), whole is not None

    def extend(self, sequence: Sequence, budget: int) -> Chunk | None:
        """The next chunk of a sequence that is being prefilled; None when there is no room even
        after others, or it itself, were sent back."""
        tokens = min(budget, sequence.target - sequence.computed)
        if not sequence.reserved:
            reach = sequence.computed + tokens
            needed = self.units_for(reach) - self.units_for(sequence.computed)
            while not self.cache.take(needed):
                if self.send_back() in (None, sequence):
                    return None
            sequence.units += needed
        return self._chunk(sequence, tokens, waiting=False)

    def _chunk(self, sequence: Sequence, tokens: int, *, waiting: bool) -> Chunk:
        offset = sequence.computed
        sequence.computed += tokens
        sequence.chunks += 1
        last = sequence.computed == sequence.target
        if last and not waiting:
            self.prefilling.remove(sequence)
        elif waiting and not last:
            self.prefilling.append(sequence)
        return Chunk(sequence, tokens, offset, last)

    def chunk_done(self, chunk: Chunk) -> int:
        """A chunk has been computed: offer its prefix blocks, count what was computed before. The
        prompt tokens that need not be computed any more, the cached ones with the first chunk."""
        sequence, end = chunk.sequence, chunk.offset + chunk.tokens
        sequence.chunks -= 1
        sequence.stay_tokens += chunk.tokens
        if sequence.ask.block_ids:
            self.prefixes.publish(sequence, end)
        if sequence.computed_before:
            again = min(end, sequence.computed_before) - chunk.offset
            sequence.recomputed += max(0, again)
        first = chunk.offset == sequence.stay_cached
        return chunk.tokens + (sequence.stay_cached if first else 0)

    # ---- growing and sending back

    def grow(self, lane: AnyLane) -> None:
        """Take the units that the lane's members need for the next pass, sending others back
        until there are enough."""
        needed = lane.growth()
        lane.grown = True
        if not needed or self.cache.take(needed):
            return
        lane.grown = False
        while not self.cache.take(needed):
            if self.send_back() is None:
                raise BrokenInvariant(
                    f"rank {self.index}: {needed} KV units needed, {self.cache.available} "
                    f"available, and nobody to preempt"
                )
            needed = lane.growth()
        lane.grown = True

    def send_back(self) -> Sequence | None:
        """Preempt the policy's victim: its KV is dropped and it waits again."""
        victim = self.preemption.victim(s for s in reversed(self.running) if not s.in_flight)
        if victim is None:
            return None
        self.pressed = True
        lane = self.stop(victim)
        self.preempted(self, victim, lane)
        self.put_back(victim)
        return victim

    def stop(self, sequence: Sequence) -> AnyLane | None:
        """A running sequence that no pass is working on runs no more; the lane that it left."""
        del self.running[sequence]
        lane = sequence.lane
        if lane is not None:
            self.settle_growth(sequence)
            lane.leave(sequence)
        elif sequence in self.prefilling:
            self.prefilling.remove(sequence)
        return lane

    def put_back(self, sequence: Sequence) -> None:
        """One that was stopped gives up its KV and waits again, before those who never ran."""
        self.release(sequence)
        sequence.preemptions += 1
        sequence.start_over()
        self.waiting.push_back(sequence)

    def finish(self, sequence: Sequence) -> None:
        """Its last token exists: its answer's full blocks stay for a next turn, the rest goes."""
        del self.running[sequence]
        if sequence.ask.block_ids:
            self.prefixes.publish_answer(sequence)
        self.release(sequence)
        sequence.engine = None

    def settle_growth(self, sequence: Sequence) -> None:
        """Book the units that a decoding sequence grew by since it joined its lane."""
        if sequence.lane is None or sequence.reserved:
            return
        joined, now = sequence.lane.reach(sequence)
        if self._plain_units:
            block = self._block
            sequence.units += (-(-now // block) - -(-joined // block)) * self._plain_units
        else:
            sequence.units += self.units_for(now) - self.units_for(joined)

    def horizon(self, lane: AnyLane, limit: int) -> int:
        """Passes, at most `limit`, that change nothing but lengths: nobody finishes, crosses a cap
        or wants a block that is not there. The first pass has its blocks already."""
        passes = lane.horizon()
        if passes > limit:
            passes = limit
        elif passes < 2:
            return 1
        room = self.cache.available
        if self.waiting and len(self.running) < self.limits.max_num_seqs:
            room = self.cache.free  # an eviction may let the next in line in
        while passes > 1 and passes * lane.most_growth > room:
            if lane.growth_between(1, passes) <= room:
                break
            passes //= 2
        return passes

    def everyone(self) -> list[Sequence]:
        """All who compute or wait here: running, waiting and arrived, not held."""
        waiting = [self.waiting.pop() for _ in range(len(self.waiting))]
        return [*self.running, *waiting, *self.arrived]

    def forget_prefixes(self) -> None:
        """Nobody finds prefix blocks that were made until now; who uses them keeps them."""
        renamed = self.cache.disown()
        for sequence in (*self.running, *self.held):
            sequence.keys = [renamed.get(key, key) for key in sequence.keys]
            self.prefixes.silence(sequence)

    def drop_all(self) -> tuple[list[Sequence], list[Sequence]]:
        """Lose everything, the KV cache included: (who computed or waited, who was held)."""
        lost, held = self.everyone(), list(self.held)
        for sequence in (*lost, *held):
            sequence.units, sequence.keys, sequence.key_tokens = 0, [], 0
            sequence.chunks, sequence.engine = 0, None
        self.running.clear()
        self.prefilling.clear()
        self.arrived.clear()
        self.held.clear()
        self.cache.clear()
        return lost, held


def _nobody(rank: Rank, sequence: Sequence, lane: AnyLane | None) -> None:
    """Until an engine listens."""
