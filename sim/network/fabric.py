"""The seam between those who send bytes and the model of how links are shared."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from sim.errors import BrokenInvariant

if TYPE_CHECKING:
    from sim.network.topology import Topology
    from sim.record.log import Emit


@dataclass(frozen=True, slots=True)
class Bundle:
    """Symmetric flows that start and end together, rated once: a handoff of sharded KV, a
    collective, a broadcast. Every member moves `bytes / members` at the same rate."""

    links: tuple[tuple[int, int], ...]
    """(link, how many members cross it), each link once."""
    members: int
    latency_s: float
    """The longest member's propagation and set-up time."""
    alone_bytes_per_s: float
    """Rate of the whole bundle when nothing else is on its links:
    members · min over links of capacity / crossings; infinite without links."""


class Fabric(Protocol):
    """Moves bytes in simulated time. Implementations: one file each in `network/fabrics/`."""

    def send(
        self,
        bundle: Bundle,
        nbytes: float,
        done: Callable[[], None],
        *,
        rate_cap_bytes_per_s: float = float("inf"),
    ) -> None:
        """Start now; call `done` at `latency + transfer time` when the last byte has arrived.

        `rate_cap_bytes_per_s` bounds the whole bundle (a layer-streamed handoff is fed no faster
        than prefill makes KV). A bundle without links (same device) takes its latency, and longer
        only where its cap asks for it. Raises BrokenInvariant on bytes that are negative or not
        finite and on a cap that is not positive.
        """

    def settle(self, now_s: float) -> None:
        """Account the bytes that have crossed each link until now (end of run)."""

    def link_bytes(self) -> dict[int, float]:
        """Bytes that have crossed each link so far, for the links that anything crossed."""


class FabricClock(Protocol):
    """What a fabric needs of the clock; `sim.clock.Clock` is one."""

    @property
    def now(self) -> Any:
        """Simulated seconds."""

    def at(self, time_s: float, order: int, value: Any = None) -> Any:
        """An event at an absolute time, with a list `callbacks`."""


class FabricLog(Protocol):
    """Where rows of the `links` table go; `sim.record.log.Log` is one."""

    @property
    def links(self) -> Emit:
        """Appends one row."""


class FabricServices(Protocol):
    """What a fabric is started with."""

    @property
    def clock(self) -> FabricClock:
        """Simulated time."""

    @property
    def topology(self) -> Topology:
        """Links and their capacities."""

    @property
    def log(self) -> FabricLog:
        """The tables."""


class FabricPolicy(Protocol):
    """The settings of a fabric, as a scenario gives them: one file in `network/fabrics/`."""

    def start(self, services: FabricServices) -> Fabric:
        """The running fabric, with nothing on its links."""


def check_send(nbytes: float, rate_cap_bytes_per_s: float, now_s: float) -> None:
    """Raise BrokenInvariant unless the bytes are finite and ≥ 0 and the cap is positive."""
    if not (0.0 <= nbytes < float("inf") and rate_cap_bytes_per_s > 0.0):
        raise BrokenInvariant(
            f"at {now_s} s: cannot send {nbytes} bytes at no more than "
            f"{rate_cap_bytes_per_s} bytes/s"
        )
