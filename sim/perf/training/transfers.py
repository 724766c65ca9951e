"""Bytes between devices, as bundles that a fabric carries side by side or one after the other."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from sim.errors import BrokenInvariant
from sim.network.sharing import Crossings, fill
from sim.network.topology import Topology

Pair = tuple[int, int]
"""Source and destination device."""


@dataclass(frozen=True, slots=True)
class Transfer:
    """Flows that start together and move equally many bytes each."""

    pairs: tuple[Pair, ...]
    nbytes: float
    """Of all pairs together: what `Fabric.send` of `Topology.bundle(pairs)` is given."""
    after: tuple[int, ...] = ()
    """Positions, in the plan that it is part of, of the transfers that must have ended."""


def grouped(moved: Mapping[Pair, float], after: tuple[int, ...] = ()) -> tuple[Transfer, ...]:
    """The bytes of pairs as transfers, pairs of equal bytes (to the byte) in one; a device's bytes
    to itself need no wire."""
    by_bytes: dict[int, list[Pair]] = {}
    for pair, nbytes in moved.items():
        if pair[0] != pair[1] and nbytes > 0.0:
            by_bytes.setdefault(round(nbytes), []).append(pair)
    return tuple(
        Transfer(tuple(pairs), sum(moved[p] for p in pairs), after)
        for _, pairs in sorted(by_bytes.items())
    )


def overlaps(sources: int, destinations: int) -> Iterable[tuple[int, int, float]]:
    """(source, destination, share of the whole) where both cut the same whole evenly."""
    for j in range(destinations):
        first = j * sources // destinations
        for i in range(first, -(-(j + 1) * sources // destinations)):
            low = max(i * destinations, j * sources)
            high = min((i + 1) * destinations, (j + 1) * sources)
            yield i, j, (high - low) / (sources * destinations)


def device_bytes(transfers: Iterable[Transfer]) -> tuple[dict[int, float], dict[int, float]]:
    """(sent, received) by device."""
    sent: dict[int, float] = {}
    received: dict[int, float] = {}
    for transfer in transfers:
        each = transfer.nbytes / len(transfer.pairs)
        for src, dst in transfer.pairs:
            sent[src] = sent.get(src, 0.0) + each
            received[dst] = received.get(dst, 0.0) + each
    return sent, received


def alone_s(topology: Topology, transfers: tuple[Transfer, ...], fraction: float = 1.0) -> float:
    """Seconds until all have arrived when nothing else is on the wires: rates are max-min fair
    among those in flight, and at most `fraction` of what each would get alone."""
    bundles = [topology.bundle(t.pairs) for t in transfers]
    left = [t.nbytes for t in transfers]
    ended: dict[int, float] = {}
    flying: list[int] = []
    waiting = list(range(len(transfers)))
    now = 0.0
    while waiting or flying:
        ready = {i: _ready(transfers[i], ended) for i in waiting}
        begun = [i for i in waiting if ready[i] <= now]
        flying += begun
        waiting = [i for i in waiting if ready[i] > now]
        caps = [bundles[i].alone_bytes_per_s * fraction for i in flying]
        members = [bundles[i].members for i in flying]
        rates = _rates(topology, members, caps, [bundles[i].links for i in flying])
        ends = [now + left[i] / rate for i, rate in zip(flying, rates, strict=True)]
        until = min([*ends, *(ready[i] for i in waiting)])
        if until == float("inf"):
            raise BrokenInvariant(f"transfers {waiting} wait for each other")
        for i, rate, end in zip(flying, rates, ends, strict=True):
            left[i] -= rate * (until - now)
            if end <= until:
                ended[i] = until + bundles[i].latency_s
        flying = [i for i in flying if i not in ended]
        now = until
    return max(ended.values(), default=0.0)


def _ready(transfer: Transfer, ended: Mapping[int, float]) -> float:
    return max((ended.get(i, float("inf")) for i in transfer.after), default=0.0)


def _rates(
    topology: Topology, members: list[int], caps: list[float], links: list[Crossings]
) -> list[float]:
    """Of bundles in flight; one alone has its cap without any filling."""
    if len(members) < 2:
        return caps
    place: dict[int, int] = {}
    crossings = [[(place.setdefault(k, len(place)), n) for k, n in each] for each in links]
    rooms = [topology.links[k].capacity_bytes_per_s for k in place]
    return fill(members, caps, crossings, rooms)
