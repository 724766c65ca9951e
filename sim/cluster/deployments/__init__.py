"""How pools work together, one way a file.

A deployment is its settings; `start(services)` returns the running one, which takes sequences in at
`accept` and hears of them as the port of every engine.
"""

from __future__ import annotations

from typing import Protocol

from sim.cluster.services import ClusterServices
from sim.engine.engine import Engine
from sim.engine.ports import Port
from sim.engine.sequence import Sequence


class Running(Port, Protocol):
    """A running deployment."""

    def accept(self, sequence: Sequence) -> None:
        """A new sequence comes in."""

    def refuses(self, prompt_tokens: int, total_tokens: int) -> str:
        """Why a request of this size can be served nowhere; empty if it can."""

    def cancel(self, sequence: Sequence) -> None:
        """A client gives a sequence up that has come in and not ended: it is taken out wherever it
        is, and the cluster is told `cancelled` when it is out."""

    def move(self, sequence: Sequence, engine: Engine, rank: int, *, send_kv: bool) -> None:
        """Take a sequence out of its engine and go on with it in a rank of another, which computes
        its prompt and what was generated again. With `send_kv` one that decodes takes its KV along
        where the two engines are of one pool and the other has room for it at that moment (those
        who wait for each other's room would wait for ever)."""


class Deployment(Protocol):
    """What every file here provides."""

    def pools(self) -> tuple[str, ...] | None:
        """Names of the pools that it needs; None = any."""

    def start(self, services: ClusterServices) -> Running:
        """The running deployment."""
