"""How many drafts the next passes of an engine take: its policy asked at the right moments."""

from __future__ import annotations

from collections.abc import Callable

from sim.engine.flight import Flight
from sim.engine.sequence import Sequence
from sim.engine.speculations import Chooser, Situation
from sim.engine.verify_lane import VerifyLane
from sim.perf.speculation.acceptance import CHUNK, Tree


class Drafting:
    """The draft length of one slot. Lanes of all its ranks draft alike."""

    __slots__ = ("_asked", "_budget", "_chooser", "_drafts", "_lanes", "_sequences", "_trees")

    def __init__(
        self, chooser: Chooser, trees: tuple[Tree, ...], budget: int, lanes: list[VerifyLane]
    ) -> None:
        self._chooser = chooser
        self._trees = trees
        """By number of drafts, from 0."""
        self._budget = budget
        """Most tokens of a rank in a pass."""
        self._lanes = lanes
        for lane in lanes:
            lane.adapt()
        self._drafts = len(trees) - 1
        self._sequences = 0
        self._asked = 0

    def begin(self, flight: Flight, remaining: Callable[[Sequence], int]) -> None:
        """Before a pass is decided: those whose KV has come join, then the length is chosen."""
        for rank, lane in flight.seats:
            if rank.arrived:
                rank.join_arrived(lane, remaining)
        sequences = max([lane.shape.decodes for lane in self._lanes])
        tick = self._lanes[0].tick
        if sequences == self._sequences and tick // CHUNK == self._asked // CHUNK:
            return
        self._sequences = sequences
        if sequences:
            wanted = self._chooser.length(self._situation(sequences, tick))
            self._drafts = wanted
            while self._trees[wanted].tokens * sequences > self._budget and wanted:
                wanted -= 1
            for lane in self._lanes:
                lane.draft(self._trees[wanted])
        self._asked = tick

    def _situation(self, sequences: int, tick: int) -> Situation:
        for lane in self._lanes:
            lane.get_ready()
        fullest = max(self._lanes, key=lambda lane: lane.shape.decodes)
        first = max(self._asked, (tick - 1) // CHUNK * CHUNK)
        members = given = steps = 0
        for lane in self._lanes:
            there = lane.verified.members[first:tick]
            members += sum(there)
            given += sum(lane.verified.tokens[first:tick])
            steps = max(steps, len(there) - there.count(0))
        accepted = given / members - 1.0 if members else 0.0
        context = fullest.shape.context_tokens
        return Situation(sequences, context, fullest.shape.tree.steps, steps, accepted)
