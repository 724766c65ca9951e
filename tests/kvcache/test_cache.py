"""The KV cache against a list of what everyone holds."""

from __future__ import annotations

from collections.abc import Hashable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from sim.errors import BrokenInvariant
from sim.kvcache.cache import KvCache
from sim.kvcache.evictions.lru import Lru
from sim.kvcache.evictions.none import NoneKept

CAPACITY = 12
KEYS = tuple(range(6))


class CacheAgainstAList(RuleBasedStateMachine):
    """The model: private units, and for every key its units, users and when it was left."""

    @initialize(keeps=st.booleans())
    def begin(self, keeps: bool) -> None:
        self.keeps = keeps
        self.cache = KvCache(CAPACITY, (Lru() if keeps else NoneKept()).start())
        self.private = 0
        self.units: dict[int, int] = {}
        self.users: dict[int, int] = {}
        self.left: list[int] = []
        """Unused keys, the first to go first."""
        self.stale: dict[Hashable, list[int]] = {}
        """[units, users] of blocks that nobody finds any more, by their new keys."""

    def free(self) -> int:
        stale = sum(units for units, _ in self.stale.values())
        return CAPACITY - self.private - sum(self.units.values()) - stale

    @rule(units=st.integers(0, CAPACITY + 2))
    def take(self, units: int) -> None:
        unused = sum(self.units[k] for k in self.left)
        fits = units <= self.free() + unused
        before = (self.cache.free, self.cache.cached, self.cache.evicted)
        assert self.cache.take(units) == fits
        if not fits:
            assert (self.cache.free, self.cache.cached, self.cache.evicted) == before
            return
        while self.free() < units:
            gone = self.left.pop(0)
            del self.units[gone], self.users[gone]
        self.private += units

    @precondition(lambda self: self.private)
    @rule(data=st.data())
    def give(self, data: st.DataObject) -> None:
        units = data.draw(st.integers(1, self.private))
        self.cache.give(units)
        self.private -= units

    @precondition(lambda self: self.private)
    @rule(key=st.sampled_from(KEYS), data=st.data())
    def publish(self, key: int, data: st.DataObject) -> None:
        units = data.draw(st.integers(1, self.private))
        assert self.cache.publish(key, units) == (key not in self.units)
        if key not in self.units:
            self.private -= units
            self.units[key], self.users[key] = units, 1

    @rule(keys=st.lists(st.sampled_from(KEYS), unique=True, max_size=4))
    def match_and_acquire(self, keys: list[int]) -> None:
        hits = self.cache.match(keys)
        known = [k in self.units for k in keys]
        assert hits == (known.index(False) if False in known else len(keys))
        assert self.cache.acquire(keys[:hits]) == sum(self.units[k] for k in keys[:hits])
        for key in keys[:hits]:
            self.users[key] += 1
            if key in self.left:
                self.left.remove(key)

    @precondition(lambda self: any(self.users.values()))
    @rule(data=st.data())
    def release(self, data: st.DataObject) -> None:
        used = [k for k in self.users if self.users[k]]
        keys = data.draw(st.lists(st.sampled_from(used), unique=True, min_size=1))
        self.cache.release(keys)
        for key in reversed(keys):
            self.users[key] -= 1
            if self.users[key] == 0 and self.keeps:
                self.left.append(key)
            elif self.users[key] == 0:
                del self.users[key], self.units[key]

    @rule()
    def disown(self) -> None:
        """New weights: what is unused goes, what is in use is found by nobody new."""
        renamed = self.cache.disown()
        assert set(renamed) == {k for k, n in self.users.items() if n}
        for key, name in renamed.items():
            assert name not in self.stale
            self.stale[name] = [self.units[key], self.users[key]]
        self.units, self.users, self.left = {}, {}, []

    @precondition(lambda self: self.stale)
    @rule(data=st.data())
    def release_stale(self, data: st.DataObject) -> None:
        name = data.draw(st.sampled_from(sorted(self.stale, key=str)))
        self.cache.release([name])
        self.stale[name][1] -= 1
        if not self.stale[name][1]:
            del self.stale[name]

    @rule()
    def fault(self) -> None:
        self.cache.clear()
        self.private, self.units, self.users, self.left, self.stale = 0, {}, {}, [], {}

    @invariant()
    def every_unit_is_somewhere(self) -> None:
        unused = sum(self.units[k] for k in self.left)
        assert self.cache.free == self.free() >= 0
        assert self.cache.cached == unused
        assert self.cache.used == CAPACITY - self.free() - unused
        assert self.cache.available == self.free() + unused
        for key in KEYS:
            assert self.cache.match([key]) == (key in self.units)


TestCache = CacheAgainstAList.TestCase
TestCache.settings = settings(max_examples=80, stateful_step_count=30)


def publish_all(cache: KvCache, keys: list[str]) -> None:
    for key in keys:
        assert cache.take(1)
        assert cache.publish(key, 1)


def test_the_least_recently_used_sequence_goes_first_and_its_last_block_before_its_first() -> None:
    cache = KvCache(6, Lru().start())
    for name in ("a", "b"):
        keys = [name + str(i) for i in range(3)]
        publish_all(cache, keys)
        cache.release(keys)
    gone = []
    for _ in range(6):
        assert cache.take(1)
        gone += [k for k in ("a0", "a1", "a2", "b0", "b1", "b2") if not cache.match([k])]
    first_seen = list(dict.fromkeys(gone))
    assert first_seen == ["a2", "a1", "a0", "b2", "b1", "b0"]


def test_using_a_prefix_again_makes_it_the_most_recent() -> None:
    cache = KvCache(2, Lru().start())
    publish_all(cache, ["old", "new"])
    cache.release(["old"])
    cache.release(["new"])
    cache.acquire(["old"])
    cache.release(["old"])
    assert cache.take(1)
    assert cache.match(["old"]) == 1
    assert cache.match(["new"]) == 0


def test_what_is_in_use_is_never_evicted() -> None:
    cache = KvCache(3, Lru().start())
    publish_all(cache, ["held", "left"])
    cache.release(["left"])
    assert not cache.take(3)
    assert cache.take(2)
    assert cache.match(["held"]) == 1


def test_without_keeping_a_prefix_is_there_only_while_someone_uses_it() -> None:
    cache = KvCache(2, NoneKept().start())
    publish_all(cache, ["x"])
    assert cache.match(["x"]) == 1
    cache.acquire(["x"])
    cache.release(["x"])
    assert cache.match(["x"]) == 1
    cache.release(["x"])
    assert cache.match(["x"]) == 0
    assert (cache.free, cache.cached) == (2, 0)


def test_releasing_more_often_than_acquiring_is_a_broken_invariant() -> None:
    cache = KvCache(2, NoneKept().start())
    publish_all(cache, ["x"])
    cache.acquire(["x"])
    cache.release(["x"])
    cache.release(["x"])
    with pytest.raises((BrokenInvariant, KeyError)):
        cache.release(["x"])


@given(
    requests=st.lists(
        st.lists(st.integers(0, 5), unique=True, min_size=1, max_size=5), min_size=1, max_size=15
    )
)
def test_with_room_for_all_everything_seen_before_is_hit(requests: list[list[int]]) -> None:
    """One request after the other, in a tree of prefixes: the hits are the longest prefix that
    any earlier request had."""
    cache = KvCache(1000, Lru().start())
    seen: set[tuple[int, ...]] = set()
    for path in requests:
        keys = [tuple(path[: i + 1]) for i in range(len(path))]
        expected = sum(k in seen for k in keys)
        hits = cache.match(keys)
        assert hits == expected
        cache.acquire(keys[:hits])
        for key in keys[hits:]:
            assert cache.take(1)
            assert cache.publish(key, 1)
        cache.release(keys)
        seen |= set(keys)
    assert cache.used == 0
