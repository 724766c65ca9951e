"""The fewest tokens left to prefill first; equal ones in order of arrival. The preempted, who have
waited once, go before all others."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from heapq import heapify, heappop, heappush

from sim.engine.sequence import Sequence
from sim.settings import settings


@dataclass(eq=False, slots=True)
class _Line:
    heap: list[tuple[bool, int, int, Sequence]] = field(default_factory=list)

    def push(self, sequence: Sequence) -> None:
        self._push(sequence)

    def push_back(self, sequence: Sequence) -> None:
        self._push(sequence)

    def _push(self, s: Sequence) -> None:
        heappush(self.heap, (not s.recomputing, s.target - s.computed, s.number, s))

    def peek(self) -> Sequence:
        return self.heap[0][3]

    def pop(self) -> Sequence:
        return heappop(self.heap)[3]

    def remove(self, sequence: Sequence) -> None:
        self.heap = [entry for entry in self.heap if entry[3] is not sequence]
        heapify(self.heap)

    def __iter__(self) -> Iterator[Sequence]:
        return (entry[3] for entry in self.heap)

    def __len__(self) -> int:
        return len(self.heap)


@settings
class ShortestPrompt:
    """Shortest prompt first."""

    def start(self) -> _Line:
        """A new line."""
        return _Line()
