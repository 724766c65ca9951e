"""A lane's running sums against a list of its members, counted one by one."""

from __future__ import annotations

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from sim.engine.lane import NEVER, Lane
from sim.engine.sequence import Sequence
from sim.perf.memory import KvGroup
from sim.workload.request import Request

BLOCK = 4
GROUPS = (KvGroup(None, 2), KvGroup(8 + BLOCK, 3))
"""The whole context in blocks of 2 units, and a window of 8 tokens in blocks of 3."""
CAPS = (5, 8)


def blocks(tokens: int) -> int:
    return -(-tokens // BLOCK)


def units(tokens: int) -> int:
    """What a sequence of this length holds."""
    kept = [tokens if g.cap_tokens is None else min(tokens, g.cap_tokens) for g in GROUPS]
    return sum(blocks(k) * g.units for k, g in zip(kept, GROUPS, strict=True))


class LaneAgainstAList(RuleBasedStateMachine):
    @initialize()
    def begin(self) -> None:
        self.lane = Lane(BLOCK, GROUPS, CAPS)
        self.members: dict[Sequence, list[int]] = {}
        """[tokens computed, tokens left]"""
        self.numbers = 0

    @rule(computed=st.integers(1, 20), left=st.integers(1, 14), reserved=st.sampled_from([0, 0, 1]))
    def join(self, computed: int, left: int, reserved: int) -> None:
        ask = Request(self.numbers, 0.0, computed, left + 1)
        one = Sequence(ask=ask, number=self.numbers, target=computed, computed=computed)
        one.reserved = bool(reserved)
        self.numbers += 1
        self.lane.join(one, left)
        self.members[one] = [computed, left]

    @precondition(lambda self: self.members)
    @rule(data=st.data())
    def leave(self, data: st.DataObject) -> None:
        one = data.draw(st.sampled_from(sorted(self.members, key=lambda s: s.number)))
        self._leave(one)

    def _leave(self, one: Sequence) -> None:
        self.lane.leave(one)
        computed, _ = self.members.pop(one)
        assert one.computed == computed
        assert one.lane is None

    @precondition(lambda self: self.members)
    @rule(passes=st.integers(1, 20))
    def advance(self, passes: int) -> None:
        """As far as the horizon allows; the finishers leave."""
        while self.lane.first_finish <= self.lane.tick:  # lazy: some have left long ago
            assert self.lane.finisher() is None
        horizon = self.lane.horizon()
        assert 1 <= horizon <= min(left for _, left in self.members.values())
        passes = min(passes, horizon)
        needed = sum(
            units(c + passes) - units(c) for m, (c, _) in self.members.items() if not m.reserved
        )
        assert self.lane.growth() + self.lane.growth_between(1, passes) == needed
        assert needed <= passes * self.lane.most_growth
        self.lane.advance(passes)
        for state in self.members.values():
            state[0] += passes
            state[1] -= passes
        done = {m for m, (_, left) in self.members.items() if left == 0}
        found = set()
        while self.lane.first_finish <= self.lane.tick:
            one = self.lane.finisher()
            if one is not None:
                found.add(one)
                self._leave(one)
        assert found == done

    @invariant()
    def sums_are_those_of_the_members(self) -> None:
        shape = self.lane.shape
        contexts = [computed + 1 for computed, _ in self.members.values()]
        assert shape.decodes == shape.sampled == len(contexts)
        assert shape.context_tokens == sum(contexts)
        for i, cap in enumerate(CAPS):
            assert shape.capped_tokens[i] == sum(min(c, cap) for c in contexts)
            assert shape.below[i] == sum(c < cap for c in contexts)

    @invariant()
    def growth_is_that_of_the_members(self) -> None:
        growing = [c for m, (c, _) in self.members.items() if not m.reserved]
        assert self.lane.growth() == sum(units(c + 1) - units(c) for c in growing)

    @invariant()
    def an_empty_lane_wants_nothing(self) -> None:
        if not self.members:
            assert self.lane.growth() == self.lane.most_growth == 0
            assert self.lane.shape.below == [0] * len(CAPS)


TestLane = LaneAgainstAList.TestCase
TestLane.settings = settings(max_examples=60, stateful_step_count=25)


def alone(computed: int, left: int) -> tuple[Lane, Sequence]:
    lane = Lane(BLOCK, GROUPS, CAPS)
    ask = Request(0, 0.0, computed, left + 1)
    one = Sequence(ask=ask, number=0, target=computed, computed=computed)
    lane.join(one, left)
    return lane, one


def test_one_who_finishes_at_the_edge_of_a_window_leaves_nothing_behind() -> None:
    """Its context reaches a cap, or its window is full, with its very last token."""
    for computed in range(1, 13):
        for left in range(1, 13):
            lane, one = alone(computed, left)
            while lane.first_finish > lane.tick:
                lane.advance(min(lane.horizon(), lane.first_finish - lane.tick))
            assert lane.finisher() is one
            lane.leave(one)
            assert lane.shape.below == [0, 0], (computed, left)
            assert lane.most_growth == 0, (computed, left)
            assert lane.shape.capped_tokens == [0, 0], (computed, left)


def test_a_lane_without_members_never_finishes() -> None:
    assert Lane(BLOCK, GROUPS, CAPS).first_finish == NEVER


def test_one_who_leaves_and_comes_back_before_the_next_pass_is_counted_once() -> None:
    """A decode pass need not lie between a preemption and the next time that it joins, where
    prompts are computed in passes of their own."""
    lane, one = alone(3, 12)
    lane.leave(one)
    one.generated, one.computed = one.generated + 1, 4
    lane.join(one, 11)
    while lane.first_finish > lane.tick:
        context = one.phase + lane.tick + 1
        assert lane.shape.below == [context < cap for cap in CAPS]
        assert lane.shape.capped_tokens == [min(context, cap) for cap in CAPS]
        lane.advance(1)
