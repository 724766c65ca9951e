"""The seam between those who send bytes and the model of how links are shared."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol


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
    members · min over links of capacity / crossings."""


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
        than prefill makes KV). A bundle without links (same device) takes its latency alone.
        """

    def settle(self, now_s: float) -> None:
        """Account the bytes that have crossed each link until now (end of run)."""

    def link_bytes(self) -> dict[int, float]:
        """Bytes that have crossed each link so far."""
