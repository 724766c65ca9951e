"""The decoding sequences of one rank in one slot whose engine speculates.

What `Lane` is for one token a step: members get several, more or fewer from step to step, as the
verdicts say that `Window` has drawn ahead. A step reads sums that are kept by tick; joining and
changing drafts cost numpy calls of their own, once for all who join together.
"""

from __future__ import annotations

from heapq import heappop, heappush

from sim.engine.lane import NEVER, Lane
from sim.engine.sequence import Sequence
from sim.engine.sums import Sums
from sim.engine.verified import Verified
from sim.engine.window import Ends, Entry, Window
from sim.perf.memory import KvGroup
from sim.perf.speculation.acceptance import CHUNK, Tree
from sim.perf.speculation.members import VerifyShape
from sim.perf.speculation.verdicts import Verdicts


class VerifyLane:
    """Members of one (rank, slot). The interface is that of `Lane`."""

    __slots__ = (
        "_all_units",
        "_block",
        "_capped",
        "_contexts",
        "_finishers",
        "_joining",
        "_lag",
        "_limit",
        "_rows",
        "_tokens",
        "_units",
        "_who",
        "_window",
        "changed",
        "first_finish",
        "flying",
        "grown",
        "shape",
        "tick",
        "verified",
    )

    def __init__(
        self,
        block_tokens: int,
        groups: tuple[KvGroup, ...],
        caps: tuple[int, ...],
        verdicts: Verdicts,
        tree: Tree,
        context_tokens: int,
    ) -> None:
        sums = Sums(block_tokens, groups, caps)
        self.shape = VerifyShape(tree=tree, contexts=sums.contexts, capped=sums.capped)
        self.first_finish = NEVER
        """Tick at which the next member finishes, or earlier; those behind the window are not
        known yet."""
        self.tick = 0
        """Passes so far; the number of the next one on the slot's clock."""
        self.flying = False
        """A pass with these members is under way."""
        self.changed = True
        """Somebody joined or left, or the drafts changed, since the last pass began."""
        self.grown = False
        """The units for the next pass have been taken."""
        self.verified = Verified(len(caps), tree)
        self._window = Window(sums, verdicts, tree)
        self._tokens, self._contexts, self._units = (
            memoryview(by_tick.data) for by_tick in (sums.tokens, sums.contexts, sums.units)
        )
        self._capped = tuple(memoryview(by_tick.data) for by_tick in sums.capped)
        self._limit = context_tokens
        self._block = block_tokens
        self._all_units = sum(g.units for g in groups)
        self._lag = 0
        self._rows: dict[Sequence, int] = {}
        self._who: dict[int, Sequence] = {}
        self._joining: dict[Sequence, int] = {}
        """Those who joined since the last pass, with their tokens to come."""
        self._finishers: list[tuple[int, int, Sequence]] = []

    # ---- what drafts

    def draft(self, tree: Tree) -> None:
        """From the next pass on these drafts."""
        if tree != self.shape.tree:
            self.shape.tree = tree
            self.changed = True
            self.verified.draft(self.tick, tree)

    def set_lag(self, versions: int) -> None:
        """From the next pass on so many versions lie between the target and the draft."""
        self._lag = versions

    @property
    def decode_tokens(self) -> int:
        """Tokens that the members bring to a pass."""
        return self.shape.decodes * self.shape.tree.tokens

    def adapt(self) -> None:
        """Drafts are chosen anew at multiples of 64 passes, where leaps must end."""
        self._window.longest = CHUNK

    # ---- who takes part

    def join(self, sequence: Sequence, remaining: int) -> None:
        """Take in a sequence with `computed` tokens that decodes `remaining` more."""
        self.changed = True
        sequence.lane = self
        sequence.join_tick = self.tick
        sequence.joins += 1
        sequence.finish_tick = NEVER
        self._joining[sequence] = remaining
        self.shape.decodes += 1
        self.shape.sampled += 1

    def leave(self, sequence: Sequence) -> None:
        """Let a sequence go; its `computed` and `generated` become its own again."""
        self.changed = True
        sequence.lane = None
        self.shape.decodes -= 1
        self.shape.sampled -= 1
        made = 0
        if sequence in self._joining:
            del self._joining[sequence]
        else:
            row, tick, window = self._rows.pop(sequence), self.tick, self._window
            del self._who[row]
            made = window.context(row, tick) - sequence.computed
            if window.release(row, tick):
                self._show()
        if not self.shape.decodes:
            self.shape.context_tokens = 0
            self.shape.capped_tokens = [0] * len(self.shape.capped_tokens)
        sequence.generated += made
        sequence.computed += made
        sequence.stay_tokens = made
        sequence.verified += self.tick - sequence.join_tick

    def made(self, sequence: Sequence) -> int:
        """Tokens that a member has made here."""
        if sequence in self._joining:
            return 0
        return self._window.context(self._rows[sequence], self.tick) - sequence.computed

    def reach(self, sequence: Sequence) -> tuple[int, int]:
        """Tokens that a member had room for when it joined, and has now."""
        joined = sequence.computed
        if sequence in self._joining:
            return joined, joined
        return joined, self._window.room(self._rows[sequence], self.tick + self.grown)

    def get_ready(self) -> None:
        """Bring the window up to the next pass: open it anew where it has ended or something else
        is drafted, and draw for those who joined."""
        window, tick, shape = self._window, self.tick, self.shape
        drafts = shape.tree is window.tree or shape.tree == window.tree
        if tick >= window.end or not drafts or self._lag != window.lag:
            for _, _, sequence in self._finishers:
                if sequence.lane is self:
                    sequence.finish_tick = NEVER
            self._finishers.clear()
            ends = window.reopen(list(self._rows.values()), tick, shape.tree, self._lag)
            self._who = dict(enumerate(self._rows))
            self._rows = dict(zip(self._rows, self._who, strict=True))
            self._expect(ends)
        elif not self._joining:
            return
        if self._joining:
            entries = [self._entry(s, left) for s, left in self._joining.items()]
            rows, ends = window.enter(entries, tick)
            for sequence, row in zip(self._joining, rows, strict=True):
                self._rows[sequence], self._who[row] = row, sequence
            self._joining.clear()
            self._expect(ends)
        self._show()

    def _entry(self, s: Sequence, left: int) -> Entry:
        declared = s.ask.max_tokens
        limit = self._limit if declared is None else s.ask.prompt_tokens + declared
        limit = min(limit, self._limit)
        return Entry(s.number, s.verified, s.computed, left, limit, not s.reserved)

    def _expect(self, ends: Ends) -> None:
        """Note who finishes in the window."""
        for row, tick in ends:
            sequence = self._who[row]
            sequence.finish_tick = tick
            heappush(self._finishers, (tick, sequence.number, sequence))
        self.first_finish = self._finishers[0][0] if self._finishers else NEVER

    def _show(self) -> None:
        """The sums of the next pass."""
        j, shape = self.tick - self._window.begin, self.shape
        shape.at = j
        shape.context_tokens = self._contexts[j]
        for i, sums in enumerate(self._capped):
            shape.capped_tokens[i] = sums[j]

    # ---- passes

    def advance(self, passes: int) -> None:
        """Every member has had `passes` verify steps."""
        self.grown = False
        if not passes:
            return
        window = self._window
        if self.shape.decodes:
            span = slice(self.tick - window.begin, self.tick - window.begin + passes)
            given, capped = self._tokens[span], [sums[span] for sums in self._capped]
            self.verified.took(self.shape.decodes, given, capped)
        else:
            self.verified.took_nothing(passes)
        self.tick += passes
        if self.tick < window.end:
            self._show()

    def finisher(self) -> Sequence | None:
        """Take the first of the finishers' list out: a member that has made its last token, or
        None for one that has left before. Only when `first_finish <= tick`."""
        heap = self._finishers
        tick, _, sequence = heappop(heap)
        self.first_finish = heap[0][0] if heap else NEVER
        return sequence if sequence.lane is self and sequence.finish_tick == tick else None

    def horizon(self) -> int:
        """Passes until a member finishes or the window ends (or fewer, where one has left)."""
        if not self.shape.decodes:
            return NEVER
        return min(self.first_finish, self._window.end) - self.tick

    # ---- room

    @property
    def most_growth(self) -> int:
        """No pass needs more units than this."""
        blocks = 2 + (self.shape.tree.tokens - 1) // self._block
        return self.shape.decodes * self._all_units * blocks

    def growth(self) -> int:
        """Units that the members need for the next pass."""
        self.get_ready()
        return self._units[self.tick - self._window.begin]

    def growth_between(self, first: int, last: int) -> int:
        """Units needed for the passes `tick + first` … `tick + last − 1` together."""
        if last <= first:
            return 0
        begin = self.tick - self._window.begin
        return sum(self._units[begin + first : begin + last])


AnyLane = Lane | VerifyLane
"""The members of one (rank, slot), whether they speculate or not."""
