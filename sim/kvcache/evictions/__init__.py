"""Which cached prefix block goes first when room is needed, one policy a file."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Protocol


class Evictor(Protocol):
    """The blocks that nobody uses at present, in the order in which they would go."""

    def add(self, key: Hashable) -> bool:
        """Keep an unused block; False when the policy does not keep it."""

    def remove(self, key: Hashable) -> None:
        """A kept block is in use again."""

    def victim(self) -> Hashable:
        """Take out the block that goes first. Only when one is kept."""


class Eviction(Protocol):
    """What every file here provides: settings that start an evictor."""

    def start(self) -> Evictor:
        """A new, empty evictor."""
