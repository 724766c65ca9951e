"""A pass, or a leap of passes, under way in a slot: work in progress with a rate."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import MutableSequence
from collections.abc import Sequence as Many
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from simpy.events import Event

from sim.clock import DECIDE, Clock
from sim.engine.rank import Chunk, Rank
from sim.engine.track import Track
from sim.engine.verify_lane import AnyLane
from sim.errors import BrokenInvariant
from sim.perf.shape import StepShape
from sim.record.log import Log

if TYPE_CHECKING:
    from sim.engine.drafting import Drafting

NO_CHUNKS: tuple[Chunk, ...] = ()

NOT_ASKED = float("inf")

FIRST_PIECE = 4
LONGEST_PIECE = 4096
"""Steps that a leap prices at once: doubled by every piece that runs to its end, set back to what
was used by one that is cut."""


@dataclass(eq=False, slots=True)
class Flight:
    """One slot's work in progress."""

    slot: int
    order: int
    """Its place among events at one instant."""
    decode_track: Track
    prefill_track: Track
    seats: list[tuple[Rank, AnyLane]]
    """Every rank with its lane in this slot."""
    lanes: list[AnyLane] = field(init=False)
    decode_shapes: list[StepShape] = field(init=False)
    """The shapes of the lanes."""
    prefill_shapes: list[StepShape] = field(init=False)
    """Those of passes in which the lanes' members take no part."""
    track: Track = field(init=False)
    """Which of the two this pass is on."""
    shapes: list[StepShape] = field(init=False)
    """What this pass computes, by rank."""
    chunks: list[Many[Chunk]] = field(init=False)
    """Prompt chunks, by rank."""
    prefills: bool = False
    decodes: bool = False
    """Whether the lanes' members take part."""
    begun_s: float = 0.0
    ends: MutableSequence[float] = field(default_factory=list)
    """End of every pass of the leap; one when it does not leap."""
    grown: int = 1
    """Passes of the leap whose KV units are taken."""
    piece: int = FIRST_PIECE
    pipeline_s: float = 0.0
    contention_s: float = 0.0
    prefill_only_s: float = 0.0
    """Prefill-only passes since the last pass on the decode track."""
    through_s: float = 0.0
    """Seconds that the last pass needed in all stages of a pipeline, without waiting."""
    slowest_s: float = 0.0
    """And in the slowest of them."""
    asked_s: float = NOT_ASKED
    """Since when it has waited for its turn at the first stage of a pipeline."""
    resting: bool = False
    flying: bool = False
    aborted: bool = False
    wake: Event | None = None
    drafting: Drafting | None = None
    """Chooses the draft length, where it changes."""

    def __post_init__(self) -> None:
        self.lanes = [lane for _, lane in self.seats]
        self.decode_shapes = self.shapes = [lane.shape for lane in self.lanes]
        self.prefill_shapes = [StepShape() for _ in self.seats]
        self.chunks = [NO_CHUNKS for _ in self.seats]
        self.track = self.decode_track

    @classmethod
    def of(
        cls, engine: int, slot: int, slots: int, ranks: Many[Rank], log: Log, *, mixed: bool
    ) -> Flight:
        """Slot `slot` of an engine. Where prompts are computed in passes of their own, these have
        a clock of their own."""
        decode = Track(engine, slot, log)
        prefill = decode if mixed else Track(engine, slots + slot, log)
        seats = [(rank, rank.lanes[slot]) for rank in ranks]
        return cls(slot, engine * slots + slot, decode, prefill, seats)

    def passes_begun(self, now_s: float) -> int:
        """Passes of the leap that have begun before, or end at, now."""
        return min(bisect_left(self.ends, now_s) + 1, len(self.ends))

    @property
    def in_use(self) -> bool:
        """Whether a pass is under way in it or it has members."""
        return self.flying or any(lane.shape.decodes for lane in self.lanes)

    @property
    def leaping(self) -> bool:
        """Whether it is under way with several passes at once."""
        return self.flying and len(self.ends) > 1

    def take_growth(self, passes: int) -> None:
        """Take the KV units of the first `passes` passes, as far as they are not taken yet."""
        if passes > self.grown:
            for rank, lane in self.seats:
                units = lane.growth_between(self.grown, passes)
                if units and not rank.cache.take(units):
                    raise BrokenInvariant(
                        f"rank {rank.index} leapt over {units} KV units with "
                        f"{rank.cache.available} available"
                    )
            self.grown = passes

    def lacks_room(self) -> bool:
        """Whether some rank cannot give the KV units that the rest of the leap needs."""
        left = len(self.ends) - self.grown
        for rank, lane in self.seats:
            room = rank.cache.available
            most = left * lane.most_growth  # quick, and nearly always enough
            if most > room and lane.growth_between(self.grown, len(self.ends)) > room:
                return True
        return False

    def retime(self, clock: Clock, time_s: float, order: int) -> None:
        """The slot's process goes on at `time_s` instead."""
        if self.wake is not None:
            self.wake = clock.retime(self.wake, time_s, order)

    def rouse(self, clock: Clock) -> None:
        """The slot's process, which rests, looks again who may run, at the end of this instant."""
        self.resting = False
        self.retime(clock, clock.now, DECIDE + self.order)

    def cut(self, clock: Clock, step_end: int) -> None:
        """End the leap with the pass in progress."""
        begun = self.passes_begun(clock.now)
        if begun < len(self.ends):
            del self.ends[begun:]
            self.piece = max(FIRST_PIECE, begun)
            self.retime(clock, self.ends[-1], step_end)

    def lose_after(self, now_s: float) -> None:
        """Forget the passes that have not ended. Only the last of a flight can have waited for
        stages or been slowed down."""
        ended = bisect_right(self.ends, now_s)
        if ended < len(self.ends):
            del self.ends[ended:]
            self.pipeline_s = self.contention_s = 0.0

    def stretch(self, now_s: float, factor: float, which: int = 0) -> None:
        """What is left of the pass in progress, the last of the flight, takes `factor` times as
        long."""
        end = now_s + (self.ends[which] - now_s) * factor
        self.contention_s += end - self.ends[which]
        self.ends[which] = end
