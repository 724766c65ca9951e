"""A verify lane's sums against a list of its members, counted one by one with their own draws."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from sim.engine.sequence import Sequence
from sim.engine.verify_lane import VerifyLane
from sim.perf.acceptances.iid import Iid
from sim.perf.memory import KvGroup
from sim.perf.speculation.acceptance import CHUNK, Tree, latent_runs, survival
from sim.perf.speculation.verdicts import Verdicts
from sim.rng import Draws
from sim.workload.request import Request

BLOCK = 4
GROUPS = (KvGroup(None, 2), KvGroup(24 + BLOCK, 3))
CAPS = (5, 40)
CONTEXT = 400
SEED, RATE = 3, 0.7


def blocks(tokens: int) -> int:
    return -(-tokens // BLOCK)


def units(tokens: int) -> int:
    kept = [tokens if g.cap_tokens is None else min(tokens, g.cap_tokens) for g in GROUPS]
    return sum(blocks(k) * g.units for k, g in zip(kept, GROUPS, strict=True))


def drawn(number: int, step: int, drafts: int) -> int:
    """Tokens of a request's verify step."""
    runs = latent_runs(
        survival(Iid(rate=RATE), 16), Draws(SEED, "acceptance"), number, step // CHUNK
    )
    return min(int(runs[step % CHUNK]), drafts) + 1


class Member:
    def __init__(self, computed: int, left: int, limit: int, number: int, verified: int) -> None:
        self.computed, self.left, self.limit = computed, left, limit
        self.number, self.step = number, verified
        self.held = computed

    def reach(self, q: int) -> int:
        return max(self.computed + 1, min(self.computed + q, self.limit))

    def verify(self, drafts: int) -> int:
        self.held = max(self.held, self.reach(drafts + 1))
        given = min(drawn(self.number, self.step, drafts), self.left)
        self.computed += given
        self.left -= given
        self.step += 1
        return given


class LaneAgainstAList(RuleBasedStateMachine):
    @initialize(drafts=st.integers(0, 4))
    def begin(self, drafts: int) -> None:
        law = Verdicts(Iid(rate=RATE), SEED)
        self.drafts = drafts
        self.lane = VerifyLane(BLOCK, GROUPS, CAPS, law, Tree.chain(drafts), CONTEXT)
        self.members: dict[Sequence, Member] = {}
        self.numbers = 0

    @rule(
        computed=st.integers(1, 60),
        left=st.integers(1, 250),
        reserved=st.sampled_from([0, 0, 1]),
        spare=st.one_of(st.none(), st.integers(0, 9)),
        verified=st.sampled_from([0, 0, 1, 63, 64, 100]),
    )
    def join(
        self, computed: int, left: int, reserved: int, spare: int | None, verified: int
    ) -> None:
        most = None if spare is None else left + 1 + spare
        one = Sequence(
            ask=Request(self.numbers, 0.0, computed, left + 1, max_tokens=most),
            number=self.numbers,
            target=computed,
            computed=computed,
        )
        one.reserved, one.verified = bool(reserved), verified
        self.numbers += 1
        self.lane.join(one, left)
        limit = CONTEXT if most is None else min(CONTEXT, computed + most)
        self.members[one] = Member(computed, left, limit, one.number, verified)

    @precondition(lambda self: self.members)
    @rule(data=st.data())
    def leave(self, data: st.DataObject) -> None:
        one = data.draw(st.sampled_from(sorted(self.members, key=lambda s: s.number)))
        self._leave(one)

    def _leave(self, one: Sequence) -> None:
        mine, generated = self.members.pop(one), one.generated
        computed, held = self.lane.reach(one)
        if not one.reserved:
            assert units(held) == units(mine.held)
        self.lane.leave(one)
        assert one.computed == mine.computed
        assert one.generated - generated == mine.computed - computed
        assert one.verified == mine.step

    @rule(drafts=st.integers(0, 4))
    def redraft(self, drafts: int) -> None:
        self.drafts = drafts
        self.lane.draft(Tree.chain(drafts))

    @precondition(lambda self: self.members)
    @rule(passes=st.integers(1, 70))
    def advance(self, passes: int) -> None:
        while passes and self.members:
            needed = self.lane.growth()
            assert needed <= self.lane.most_growth
            while self.lane.first_finish <= self.lane.tick:
                assert self.lane.finisher() is None
            some = min(passes, self.lane.horizon())
            assert some >= 1
            needed += self.lane.growth_between(1, some)
            self._verify(some, needed)
            passes -= some

    def _verify(self, passes: int, needed: int) -> None:
        growing = {m: units(x.held) for m, x in self.members.items() if not m.reserved}
        for j in range(passes):
            at = self.lane.shape.at + j
            self._sums_are_those_of_the_members(at)
            for mine in self.members.values():
                mine.verify(self.drafts)
                assert not (mine.left == 0 and j < passes - 1), "a leap went past a finisher"
        grown = sum(units(self.members[m].held) - before for m, before in growing.items())
        assert needed == grown
        self.lane.advance(passes)
        done = {m for m, mine in self.members.items() if mine.left == 0}
        found = set()
        while self.lane.first_finish <= self.lane.tick:
            one = self.lane.finisher()
            if one is not None:
                found.add(one)
                self._leave(one)
        assert found == done

    def _sums_are_those_of_the_members(self, at: int) -> None:
        shape = self.lane.shape
        contexts = [m.computed + 1 for m in self.members.values()]
        assert shape.contexts[at] == sum(contexts)
        for column, cap in zip(shape.capped, CAPS, strict=True):
            assert column[at] == sum(min(c, cap) for c in contexts)

    @invariant()
    def counts_are_those_of_the_members(self) -> None:
        assert self.lane.shape.decodes == self.lane.shape.sampled == len(self.members)
        assert self.lane.decode_tokens == len(self.members) * (self.drafts + 1)
        assert len(self.lane.verified.tokens) == self.lane.tick
        if not self.members:
            assert self.lane.shape.context_tokens == 0


TestLane = LaneAgainstAList.TestCase
TestLane.settings = settings(max_examples=60, stateful_step_count=30)


@pytest.mark.parametrize("drafts", [0, 1, 4])
@pytest.mark.parametrize("adapts", [False, True])
def test_sums_are_those_of_the_members_while_the_drafts_stay(drafts: int, adapts: bool) -> None:
    """Few and many members, through windows of every length, who end, leave and come back."""
    case = LaneAgainstAList()
    case.begin(drafts)
    if adapts:
        case.lane.adapt()
    draws = np.random.default_rng(drafts)
    for turn in range(60):
        for _ in range(draws.choice([0, 1, 1, 2, 7, 40])):
            context, left = int(draws.integers(1, 60)), int(draws.integers(1, 330))
            spare = None if draws.random() < 0.7 else int(draws.integers(0, 9))
            case.join(context, left, int(draws.random() < 0.1), spare, int(draws.choice([0, 7])))
        if turn % 3 == 0 and case.members:
            case._leave(next(iter(case.members)))
        if case.members:
            case.advance(int(draws.integers(1, 120)))
        case.counts_are_those_of_the_members()


def test_joining_one_by_one_or_together_draws_the_same() -> None:
    """Few who join get their rows one by one, many as a matrix."""

    def lane(together: int) -> VerifyLane:
        made = VerifyLane(
            BLOCK, GROUPS, CAPS, Verdicts(Iid(rate=RATE), SEED), Tree.chain(3), 10_000
        )
        for first in range(0, 12, together):
            for number in range(first, first + together):
                one = Sequence(Request(number, 0.0, 9, 5000), number, 9, computed=9)
                made.join(one, 4999)
            made.growth()
        return made

    one, other = lane(1), lane(12)
    for _ in range(100):
        assert one.growth() == other.growth()
        assert one.shape.context_tokens == other.shape.context_tokens
        one.advance(1)
        other.advance(1)
    assert one.verified.tokens == other.verified.tokens
    assert np.mean(one.verified.tokens) > 12
