"""What collectives need to know: who takes part, over which wires, and how well software uses them.

Everything is a closed form in the bytes, made of + − × ÷ and comparisons only, so that a float and
an array of floats give equal bits.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Any, Literal, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from sim.settings import settings
from sim.units import Seconds

Amount = TypeVar("Amount", float, NDArray[np.float64])
"""Bytes or seconds: one number or an array of them."""

Operation = Literal["all_reduce", "all_gather", "reduce_scatter", "all_to_all", "send"]

OPERATIONS: tuple[Operation, ...] = (
    "all_reduce",
    "all_gather",
    "reduce_scatter",
    "all_to_all",
    "send",
)

Fraction = Annotated[float, Field(gt=0.0, le=1.0)]


@settings
class Line:
    """One protocol of a collective library: seconds = launch + steps · (wire latency + step)
    + bytes on the wire ÷ (efficiency · link bandwidth)."""

    efficiency: Fraction
    """Achieved fraction of the link's bandwidth."""
    launch_s: Seconds = 0.0
    """Paid once: kernel launch and rendezvous."""
    step_s: Seconds = 0.0
    """Paid at every step beyond the latency of the wires: flags, reduction, polling."""


Lines = tuple[Line, ...]

IDEAL: Lines = (Line(efficiency=1.0),)


@settings
class Tuning:
    """How well a machine's software uses its wires. Several lines are several protocols, of which
    the quickest is taken; no lines: the machine does not have the algorithm."""

    ring: Lines = IDEAL
    """Ring steps inside a scale-up domain."""
    direct: Lines = IDEAL
    """Point-to-point and all-to-all inside a scale-up domain."""
    one_shot: Lines = ()
    """All-reduce by reading every peer's buffer: small messages."""
    in_switch: Lines = ()
    """All-reduce by the switch (NVLink SHARP)."""
    scale_out: Lines = IDEAL
    """Steps over the network between domains."""


@dataclass(frozen=True, slots=True)
class Group:
    """Devices that take part in a collective, and the wires between them."""

    size: int
    domains: int
    """Scale-up domains (nodes, NVL72 racks) that they are spread over."""
    per_domain: int
    """Most members in one domain."""
    scale_up_bytes_per_s: float
    """Out of one device into its scale-up domain, one direction; the slowest member's."""
    scale_out_bytes_per_s: float
    """Out of one device into the network, one direction: the slowest member's NIC, or its share of
    the leaf-to-spine links when all send, if the group reaches across leaves. 0 when `domains` is
    1: the network is not used."""
    scale_up_latency_s: float
    """Of the wires, for one step inside the domain."""
    scale_out_latency_s: float
    """Of the wires, for one step between domains, by the longest route within the group."""
    tuning: Tuning = field(default_factory=Tuning)

    @property
    def even(self) -> bool:
        """Whether every domain has the same number of members."""
        return self.size == self.domains * self.per_domain


class Algorithm(Protocol):
    """One way to do some collectives: one file each in `network/collectives/`."""

    def fits(self, operation: Operation, group: Group) -> bool:
        """Whether it can do `operation` for this group (of two devices or more)."""

    def seconds(self, operation: Operation, group: Group, nbytes: Amount) -> Amount:
        """Duration, for an operation that fits. What `nbytes` counts: see `Collectives`."""


def least(first: Amount, second: Amount) -> Amount:
    """The smaller of two, element by element."""
    if isinstance(first, np.ndarray) or isinstance(second, np.ndarray):
        return np.minimum(first, second)
    smaller: Any = second if second < first else first
    return smaller  # type: ignore[no-any-return]


def most(first: Amount, second: Amount) -> Amount:
    """The larger of two, element by element."""
    if isinstance(first, np.ndarray) or isinstance(second, np.ndarray):
        return np.maximum(first, second)
    larger: Any = second if second > first else first
    return larger  # type: ignore[no-any-return]


def quickest(
    lines: Lines, steps: float, latency_s: float, wire_bytes: Amount, bytes_per_s: float
) -> Amount:
    """Seconds by the best of the lines for `steps` steps that put `wire_bytes` on one link."""
    times = [
        (line.launch_s + steps * (latency_s + line.step_s))
        + wire_bytes / (line.efficiency * bytes_per_s)
        for line in lines
    ]
    best = times[0]
    for other in times[1:]:
        best = least(best, other)
    return best
