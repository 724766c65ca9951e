"""The decoding sequences of one rank in one slot, as running sums.

All members decode one token per pass of the slot, so everything about them moves in step: a member
that joined at tick j with c tokens has `c + tick − j = phase + tick` now. Sums, finishers, block
growth and crossings of caps are kept by tick; a pass costs O(1), joining and leaving O(log n).
"""

from __future__ import annotations

from dataclasses import dataclass
from heapq import heappop, heappush

from sim.engine.sequence import Sequence
from sim.perf.memory import KvGroup
from sim.perf.shape import StepShape

NEVER = 1 << 60


@dataclass(eq=False, slots=True)
class _Group:
    """Growth of one KV group: how many growing members need a block at tick ≡ residue."""

    cap_tokens: int
    units: int
    counts: list[int]
    growing: int = 0


class Lane:
    """Members of one (rank, slot)."""

    __slots__ = (
        "_all_units",
        "_block",
        "_caps",
        "_counts",
        "_crosses",
        "_crossings",
        "_finishers",
        "_groups",
        "changed",
        "first_finish",
        "flying",
        "grown",
        "shape",
        "tick",
    )

    def __init__(self, block_tokens: int, groups: tuple[KvGroup, ...], caps: tuple[int, ...]):
        self.shape = StepShape()
        self.first_finish = NEVER
        """Tick at which the next member finishes, or earlier."""
        self.tick = 0
        """Passes so far; the number of the next one on the slot's clock."""
        self.flying = False
        """A pass with these members is under way."""
        self.changed = True
        """Somebody joined, left or crossed a cap since the last pass began."""
        self.grown = False
        """The units for the next pass have been taken."""
        self._block = block_tokens
        self._groups = [
            _Group(NEVER if g.cap_tokens is None else g.cap_tokens, g.units, [0] * block_tokens)
            for g in groups
        ]
        self._counts = self._groups[0].counts if len(self._groups) == 1 else []
        """Of the only group, the common case."""
        self._all_units = sum(g.units for g in groups)
        self._caps = caps
        self._crosses = bool(caps) or any(g.cap_tokens is not None for g in groups)
        self._finishers: list[tuple[int, int, Sequence]] = []
        self._crossings: list[tuple[int, int, int, int, Sequence]] = []

    def join(self, sequence: Sequence, remaining: int) -> None:
        """Take in a sequence with `computed` tokens that decodes `remaining` more."""
        tick, computed = self.tick, sequence.computed
        self.changed = True
        sequence.lane = self
        sequence.phase = computed - tick
        sequence.join_tick = tick
        sequence.joins += 1
        sequence.finish_tick = tick + remaining
        heappush(self._finishers, (sequence.finish_tick, sequence.number, sequence))
        self.first_finish = self._finishers[0][0]
        shape = self.shape
        shape.decodes += 1
        shape.sampled += 1
        shape.context_tokens += computed + 1
        self._count(sequence, computed, 1)
        if self._caps:
            self._count_caps(sequence, computed, 1)
        if self._crosses:
            self._expect_crossings(sequence, computed)

    def leave(self, sequence: Sequence) -> None:
        """Let a sequence go; its `computed` and `generated` become its own again."""
        computed = sequence.phase + self.tick
        self.changed = True
        sequence.lane = None
        sequence.stay_tokens = self.tick - sequence.join_tick
        sequence.generated += sequence.stay_tokens
        sequence.computed = computed
        shape = self.shape
        shape.decodes -= 1
        shape.sampled -= 1
        shape.context_tokens -= computed + 1
        self._count(sequence, computed, -1)
        if self._caps:
            self._count_caps(sequence, computed, -1)

    def made(self, sequence: Sequence) -> int:
        """Tokens that a member has made here."""
        return self.tick - sequence.join_tick

    @property
    def decode_tokens(self) -> int:
        """Tokens that the members bring to a pass."""
        return self.shape.decodes

    def reach(self, sequence: Sequence) -> tuple[int, int]:
        """Tokens that a member had room for when it joined, and has now."""
        joined = sequence.phase + sequence.join_tick
        return joined, sequence.phase + self.tick + self.grown

    def advance(self, passes: int) -> None:
        """Every member has decoded `passes` tokens."""
        self.tick += passes
        self.grown = False
        shape = self.shape
        shape.context_tokens += passes * shape.decodes
        if self._crosses:
            for i in range(len(self._caps)):
                shape.capped_tokens[i] += passes * shape.below[i]
            while self._crossings and self._crossings[0][0] <= self.tick:
                self._cross(*heappop(self._crossings))

    def finisher(self) -> Sequence | None:
        """Take the first of the finishers' list out: a member that has made its last token, or
        None for one that has left before. Only when `first_finish <= tick`."""
        heap = self._finishers
        tick, _, sequence = heappop(heap)
        self.first_finish = heap[0][0] if heap else NEVER
        return sequence if sequence.lane is self and sequence.finish_tick == tick else None

    def horizon(self) -> int:
        """Passes until a member finishes or crosses a cap (or fewer, where one has left)."""
        ticks = self.first_finish - self.tick
        if self._crossings:
            ticks = min(ticks, self._crossings[0][0] - self.tick)
        return ticks

    @property
    def most_growth(self) -> int:
        """No pass needs more units than this."""
        return self.shape.decodes * self._all_units

    def growth(self) -> int:
        """Units that the members need for the next pass."""
        residue = self.tick % self._block
        if self._counts:
            return self._counts[residue] * self._all_units
        return sum([g.counts[residue] * g.units for g in self._groups])

    def growth_between(self, first: int, last: int) -> int:
        """Units needed for the passes `tick + first` … `tick + last − 1` together."""
        if last <= first:
            return 0
        if last == first + 1 and self._counts:
            return self._counts[(self.tick + first) % self._block] * self._all_units
        rounds, rest = divmod(last - first, self._block)
        begin = (self.tick + first) % self._block
        units = 0
        for g in self._groups:
            part = g.counts[begin : begin + rest]
            wrapped = g.counts[: max(0, begin + rest - self._block)]
            units += (rounds * g.growing + sum(part) + sum(wrapped)) * g.units
        return units

    def _count(self, sequence: Sequence, computed: int, by: int) -> None:
        if sequence.reserved:
            return
        residue = -sequence.phase % self._block
        for g in self._groups:
            if computed < g.cap_tokens:
                g.counts[residue] += by
                g.growing += by

    def _count_caps(self, sequence: Sequence, computed: int, by: int) -> None:
        shape = self.shape
        for i, cap in enumerate(self._caps):
            shape.capped_tokens[i] += by * min(computed + 1, cap)
            shape.below[i] += by * (computed + 1 < cap)

    def _expect_crossings(self, sequence: Sequence, computed: int) -> None:
        for i, cap in enumerate(self._caps):
            if computed + 1 < cap:
                self._expect(cap - 1 - sequence.phase, i, sequence)
        for i, g in enumerate(self._groups):
            if computed < g.cap_tokens < NEVER and not sequence.reserved:
                self._expect(g.cap_tokens - sequence.phase, len(self._caps) + i, sequence)

    def _expect(self, tick: int, which: int, sequence: Sequence) -> None:
        if tick <= sequence.finish_tick:
            entry = (tick, sequence.number, which, sequence.joins, sequence)
            heappush(self._crossings, entry)

    def _cross(self, tick: int, number: int, which: int, joins: int, sequence: Sequence) -> None:
        if sequence.lane is not self or sequence.joins != joins:
            return
        self.changed = True
        if which < len(self._caps):
            self.shape.below[which] -= 1
            return
        g = self._groups[which - len(self._caps)]
        g.counts[-sequence.phase % self._block] -= 1
        g.growing -= 1
