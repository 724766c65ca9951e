"""How tokens spread over experts, one law a file. A file is its settings; `law()` gives what
`sim.perf.routing` works out."""

from __future__ import annotations

from typing import Protocol

from sim.perf.routing import Routing


class RoutingPolicy(Protocol):
    """What every file here provides."""

    @property
    def epoch_steps(self) -> int:
        """Steps after which loads are drawn anew; 0 = never: expected loads."""

    def law(self) -> Routing:
        """The law of expert loads."""
