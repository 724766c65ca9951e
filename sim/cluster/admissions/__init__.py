"""Whether a request is let in at the cluster's door, one policy a file."""

from __future__ import annotations

from typing import Protocol

from sim.workload.request import Ask


class Admission(Protocol):
    """What every file here provides."""

    def admits(self, ask: Ask, inside: int) -> bool:
        """Whether to let in a request while `inside` others have not ended yet."""
