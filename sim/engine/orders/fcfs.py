"""First come, first served; the preempted go to the head of the line."""

from __future__ import annotations

from collections import deque

from sim.engine.sequence import Sequence
from sim.settings import settings


class _Line(deque[Sequence]):
    __slots__ = ()

    push = deque.append
    push_back = deque.appendleft
    pop = deque.popleft

    def peek(self) -> Sequence:
        return self[0]


@settings
class Fcfs:
    """First come, first served."""

    def start(self) -> _Line:
        """A new line."""
        return _Line()
