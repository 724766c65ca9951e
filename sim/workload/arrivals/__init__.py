"""When clients ask: one file per law, named by the file.

A law of open load fixes all times beforehand; one of closed load answers to what becomes of its
requests. Both make a `Source` of what is asked.
"""

from __future__ import annotations

from typing import ClassVar, Protocol

from sim.rng import Draws
from sim.workload.request import Source
from sim.workload.trace import Trace


class Arrivals(Protocol):
    """What a file of this folder offers."""

    uses_trace_times: ClassVar[bool]
    """Whether `asks.arrival_s` matters; else the law makes its own times."""

    def source(self, asks: Trace, draws: Draws) -> Source:
        """Clients that send the requests of `asks`, in their order."""
