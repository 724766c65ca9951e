"""The KV cache of one rank: private units of running sequences and shared blocks of prefixes.

A *unit* is the least that is handed out (one block of one KV group). A *prefix block* is a run of
blocks under one key of the trace; the key means the same tokens up to its end, so a lookup walks
keys until one is missing. Prefix blocks are counted references; unused ones stay until the
evictor gives them up to whoever needs room.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

from sim.errors import BrokenInvariant
from sim.kvcache.evictions import Evictor


@dataclass(eq=False, slots=True)
class _Prefix:
    units: int
    users: int
    stale: bool = False
    """Nobody finds it any more; it goes with its last user."""


class KvCache:
    """Units of one rank. `free + cached + used == capacity` always."""

    __slots__ = ("_disowned", "_evictor", "_index", "cached", "capacity", "evicted", "free")

    def __init__(self, capacity: int, evictor: Evictor) -> None:
        self.capacity = capacity
        self.free = capacity
        """Units that hold nothing."""
        self.cached = 0
        """Units of prefix blocks that nobody uses."""
        self.evicted = 0
        """Units given up so far."""
        self._evictor = evictor
        self._index: dict[Hashable, _Prefix] = {}
        self._disowned = 0

    @property
    def used(self) -> int:
        """Units held by sequences, shared prefix blocks counted once."""
        return self.capacity - self.free - self.cached

    @property
    def available(self) -> int:
        """Units that `take` could hand out."""
        return self.free + self.cached

    def match(self, keys: Sequence[Hashable]) -> int:
        """How many leading keys are in the cache."""
        index = self._index
        for n, key in enumerate(keys):
            if key not in index:
                return n
        return len(keys)

    def take(self, units: int) -> bool:
        """Hand out private units, evicting as needed; False, and no change, if too few."""
        if units > self.free:
            if units > self.free + self.cached:
                return False
            while self.free < units:
                self._evict()
        self.free -= units
        return True

    def give(self, units: int) -> None:
        """Return private units."""
        self.free += units

    def acquire(self, keys: Sequence[Hashable]) -> int:
        """Use cached prefix blocks (all must be in the cache); the units that they hold."""
        units = 0
        for key in keys:
            prefix = self._index[key]
            if prefix.users == 0:
                self._evictor.remove(key)
                self.cached -= prefix.units
            prefix.users += 1
            units += prefix.units
        return units

    def publish(self, key: Hashable, units: int) -> bool:
        """Turn private units into a prefix block with one user; False, and no change, when the key
        is there already (computed by another at the same time: the copy stays private)."""
        if key in self._index:
            return False
        self._index[key] = _Prefix(units, users=1)
        return True

    def release(self, keys: Sequence[Hashable]) -> None:
        """Stop using prefix blocks, the last first."""
        for key in reversed(keys):
            prefix = self._index[key]
            prefix.users -= 1
            if prefix.users < 0:
                raise BrokenInvariant(f"prefix block {key} was released more often than acquired")
            if prefix.users == 0:
                if not prefix.stale and self._evictor.add(key):
                    self.cached += prefix.units
                else:
                    del self._index[key]
                    self.free += prefix.units

    def disown(self) -> dict[Hashable, Hashable]:
        """Forget all prefix blocks (they were made with other weights). Unused ones are freed;
        those in use stay until their last user goes, under the keys that are returned by the old
        ones."""
        self._disowned += 1
        renamed: dict[Hashable, Hashable] = {}
        for key, prefix in list(self._index.items()):
            if prefix.stale:
                continue
            del self._index[key]
            if prefix.users == 0:
                self._evictor.remove(key)
                self.cached -= prefix.units
                self.free += prefix.units
            else:
                renamed[key] = ("stale", self._disowned, key)
                prefix.stale = True
                self._index[renamed[key]] = prefix
        return renamed

    def clear(self) -> None:
        """Everything is gone (a fault)."""
        for key, prefix in self._index.items():
            if prefix.users == 0:
                self._evictor.remove(key)
        self._index.clear()
        self.free, self.cached = self.capacity, 0

    def _evict(self) -> None:
        key = self._evictor.victim()
        units = self._index.pop(key).units
        self.cached -= units
        self.free += units
        self.evicted += units
