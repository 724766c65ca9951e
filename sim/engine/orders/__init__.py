"""Who is next in a waiting line, one discipline a file."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

from sim.engine.sequence import Sequence


class Line(Protocol):
    """Sequences that wait for their first step."""

    def push(self, sequence: Sequence) -> None:
        """A new arrival."""

    def push_back(self, sequence: Sequence) -> None:
        """A preempted sequence returns."""

    def peek(self) -> Sequence:
        """The next one. Only when the line is not empty."""

    def pop(self) -> Sequence:
        """Take the next one out."""

    def remove(self, sequence: Sequence) -> None:
        """Take one that waits out, wherever it stands."""

    def __iter__(self) -> Iterator[Sequence]:
        """All who wait, in any order."""

    def __len__(self) -> int: ...


class Order(Protocol):
    """What every file here provides: settings that start a line."""

    def start(self) -> Line:
        """A new, empty line."""
