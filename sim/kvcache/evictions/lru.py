"""Least recently used first. Of one sequence's blocks the last goes first, so that no block is kept
whose predecessor is gone."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable
from dataclasses import dataclass, field

from sim.settings import settings


@dataclass(eq=False, slots=True)
class _Order:
    kept: OrderedDict[Hashable, None] = field(default_factory=OrderedDict)

    def add(self, key: Hashable) -> bool:
        self.kept[key] = None
        return True

    def remove(self, key: Hashable) -> None:
        del self.kept[key]

    def victim(self) -> Hashable:
        return self.kept.popitem(last=False)[0]


@settings
class Lru:
    """Least recently used first."""

    def start(self) -> _Order:
        """A new order of use."""
        return _Order()
