"""A fixed number of clients, each waiting for its answer before it asks again."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import Field

from sim.rng import Draws
from sim.settings import settings
from sim.units import PositiveInt, Seconds
from sim.workload.source import ClosedLoopSource
from sim.workload.trace import Trace


@settings
class ClosedLoop:
    """`concurrency` requests are outstanding until there are no more to send."""

    uses_trace_times: ClassVar[bool] = False

    concurrency: PositiveInt
    """Clients; all ask at time 0."""
    think_time_s: Annotated[Seconds, Field(ge=0)] = 0.0
    """From the end of a client's request (finished, rejected or failed) to its next."""

    def source(self, asks: Trace, draws: Draws) -> ClosedLoopSource:
        """Closed load; nothing is drawn."""
        return ClosedLoopSource(asks, self.concurrency, self.think_time_s)
