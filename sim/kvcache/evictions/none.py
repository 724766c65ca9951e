"""Keep nothing: a prefix can be shared only while someone uses it."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass

from sim.errors import BrokenInvariant
from sim.settings import settings


@dataclass(eq=False, slots=True)
class _Nothing:
    def add(self, key: Hashable) -> bool:
        return False

    def remove(self, key: Hashable) -> None:
        raise BrokenInvariant(f"prefix block {key} was never kept")

    def victim(self) -> Hashable:
        raise BrokenInvariant("no prefix block is kept")


@settings
class NoneKept:
    """Unused blocks are freed at once."""

    def start(self) -> _Nothing:
        """An evictor that keeps nothing."""
        return _Nothing()
