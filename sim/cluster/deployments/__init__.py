"""How pools work together, one way a file.

A deployment is its settings; `start(services)` returns the running one, which takes sequences in at
`accept` and hears of them as the port of every engine.
"""

from __future__ import annotations

from typing import Protocol

from sim.cluster.services import ClusterServices
from sim.engine.ports import Port
from sim.engine.sequence import Sequence


class Running(Port, Protocol):
    """A running deployment."""

    def accept(self, sequence: Sequence) -> None:
        """A new sequence comes in."""

    def refuses(self, prompt_tokens: int, total_tokens: int) -> str:
        """Why a request of this size can be served nowhere; empty if it can."""


class Deployment(Protocol):
    """What every file here provides."""

    def pools(self) -> tuple[str, ...] | None:
        """Names of the pools that it needs; None = any."""

    def start(self, services: ClusterServices) -> Running:
        """The running deployment."""
