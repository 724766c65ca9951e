"""What collectives need to know: who takes part, over which wires, and how well software uses them.

Everything is a closed form in the bytes, made of + − × ÷ and comparisons only, so that a float and
an array of floats give equal bits.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Annotated, Any, Literal, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from sim.errors import ScenarioError
from sim.settings import settings
from sim.units import Bytes, Seconds

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
    """One protocol of a collective library: seconds = launch + latency of the wires + steps · step
    + bytes on the wire ÷ (efficiency · link) + bytes kept ÷ (copy · link)."""

    efficiency: Fraction
    """Achieved fraction of the link's bandwidth."""
    launch_s: Seconds = 0.0
    """Paid once: kernel launch and rendezvous."""
    step_s: Seconds = 0.0
    """Paid at every step beyond the latency of the wires: flags, reduction, polling. When all pairs
    are in flight together (`direct`): for every peer."""
    copy_ratio: Annotated[float, Field(gt=0.0)] | None = None
    """Rate at which a device copies the bytes that it keeps (its own share of the message) within
    the same kernel, as a multiple of the link's bandwidth: why the bandwidth of few GPUs is lower
    than that of many. None: free."""


Lines = tuple[Line, ...]

IDEAL: Lines = (Line(efficiency=1.0),)

MAX_CUSTOM_BYTES = 8.0 * 2**20
"""`max_size` of vLLM's `CustomAllreduce`: what its buffers hold."""


@settings
class Custom:
    """A serving engine's own all-reduce, inside one scale-up domain, for small messages."""

    engine: str
    """Name by which it is chosen: `trtllm`, `vllm`."""
    one_shot: Lines = ()
    """By reading every peer's buffer."""
    two_shot: Lines = ()
    """Every device reduces its share, and gathers those of the others."""
    max_bytes: Annotated[Bytes, Field(gt=0.0)] = MAX_CUSTOM_BYTES
    """Largest message; beyond it the engine calls NCCL."""


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
    two_shot: Lines = ()
    """All-reduce in two steps over every peer's buffer: messages of medium size."""
    max_shot_bytes: Annotated[Bytes, Field(gt=0.0)] = MAX_CUSTOM_BYTES
    """Largest message of `one_shot` and `two_shot`."""
    custom: tuple[Custom, ...] = ()
    """The all-reduces of several engines, instead of `one_shot` and `two_shot`. The first one
    serves where no engine is named."""
    in_switch: Lines = ()
    """All-reduce by the switch (NVLink SHARP)."""
    scale_out: Lines = IDEAL
    """Steps over the network between domains."""

    def choose(self, engine: str | None) -> Tuning:
        """This tuning with the all-reduce of one engine: `one_shot` and `two_shot` are those of
        `engine`; of the machine's first for None; of nobody, which leaves NCCL, for `none`.

        Raises ScenarioError for an engine that the machine has no figures of.
        """
        if engine == "none":
            return replace(self, one_shot=(), two_shot=(), custom=())
        if engine is None:
            chosen = self.custom[0] if self.custom else None
        else:
            chosen = next((c for c in self.custom if c.engine == engine), None)
            if chosen is None:
                there = ", ".join(["none", *(c.engine for c in self.custom)])
                raise ScenarioError(
                    f"custom all-reduce '{engine}' has no lines in the topology's 'collectives'; "
                    f"choose one of {there}"
                )
        if chosen is None:
            return self
        return replace(
            self,
            one_shot=chosen.one_shot,
            two_shot=chosen.two_shot,
            max_shot_bytes=chosen.max_bytes,
            custom=(),
        )


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
        """Whether it can do `operation` for this group (of two devices or more). The group's
        tuning is that of the engine that was chosen: see `Tuning.choose`."""

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
    lines: Lines,
    steps: float,
    wires_s: float,
    wire_bytes: Amount,
    bytes_per_s: float,
    kept_bytes: Amount | None = None,
) -> Amount:
    """Seconds by the best of the lines for `steps` steps, whose wires take `wires_s` in all, that
    put `wire_bytes` on one link and copy `kept_bytes` within the device."""
    first, *others = lines
    best = line_seconds(first, steps, wires_s, wire_bytes, bytes_per_s, kept_bytes)
    for line in others:
        best = least(best, line_seconds(line, steps, wires_s, wire_bytes, bytes_per_s, kept_bytes))
    return best


def line_seconds(
    line: Line,
    steps: float,
    wires_s: float,
    wire_bytes: Amount,
    bytes_per_s: float,
    kept_bytes: Amount | None = None,
) -> Amount:
    """Seconds by one line: see `Line` and `quickest`."""
    fixed = line.launch_s + wires_s + steps * line.step_s
    seconds = fixed + wire_bytes / (line.efficiency * bytes_per_s)
    if kept_bytes is None or line.copy_ratio is None:
        return seconds
    return seconds + kept_bytes / (line.copy_ratio * bytes_per_s)


def within(limit_bytes: float, nbytes: Amount, seconds: Amount) -> Amount:
    """`seconds` up to the limit, infinite for larger messages."""
    if isinstance(nbytes, np.ndarray):
        return np.where(nbytes <= limit_bytes, seconds, np.inf)
    return seconds if nbytes <= limit_bytes else float("inf")
