"""A weight synchronisation as bytes on routes: what a loop plays on the fabric.

Every engine's device receives its share of the weights, W/width, cut as a trainer's senders cut it:
parts meet where they overlap. Converting to the engine's layout is in `WeightSync.per_tensor_s`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

from sim.catalog.gpu import Gpu
from sim.network.topology import Topology
from sim.perf.training.transfers import Pair, Transfer, alone_s, grouped, overlaps
from sim.perf.training.weight_sync import (
    WeightSync,
    check_sync,
    compare_s,
    gather_s,
    pull_s,
    quantise_s,
    sent_bytes,
)

Devices = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class SyncPlan:
    """One synchronisation, worked out."""

    before_s: float = 0.0
    """Gathering, comparing, and quantising at the senders; what must leave the GPU first: before a
    byte is sent."""
    rounds: tuple[tuple[Transfer, ...], ...] = ()
    """Transfers side by side; a round begins when all of the one before have arrived."""
    wire_fraction: float = 1.0
    """Of its bundle's rate alone that a transfer gets at most: a cap for the fabric."""
    pull_s: float = 0.0
    """Every engine, when it likes: from host memory beside it; 0 = pushed to it."""
    after_s: float = 0.0
    """Every engine: host time per tensor, quantising at the receiver, loading."""
    sending_rounds: int = 0
    """Rounds, from the first, in which the trainer itself sends."""

    @property
    def transfers(self) -> tuple[Transfer, ...]:
        """All rounds as one list, each transfer after those of the round before."""
        out: list[Transfer] = []
        behind: tuple[int, ...] = ()
        for each in self.rounds:
            here = tuple(range(len(out), len(out) + len(each)))
            out += [Transfer(t.pairs, t.nbytes, behind) for t in each]
            behind = here
        return tuple(out)

    @property
    def nbytes(self) -> float:
        """On all wires together."""
        return sum(t.nbytes for each in self.rounds for t in each)

    def alone_s(self, topology: Topology) -> float:
        """Seconds of it all when nothing else is on the wires."""
        return self.before_s + self.wire_s(topology) + self.pull_s + self.after_s

    def wire_s(self, topology: Topology) -> float:
        """Seconds on the wires when nothing else is there."""
        return alone_s(topology, self.transfers, self.wire_fraction)


def plan_sync(
    sync: WeightSync,
    gpu: Gpu,
    topology: Topology,
    *,
    params: float,
    tensors: int,
    senders: Devices,
    engines: tuple[Devices, ...],
    gathered_params: float = 0.0,
) -> SyncPlan:
    """From trainer devices `senders` to `engines`; arguments as those of `weight_sync.sync_s`.

    Raises ScenarioError without senders or engines, and for a pull without relays.
    """
    check_sync(sync, senders, engines)
    nbytes, width = params * sent_bytes(sync), len(engines[0])
    before = gather_s(sync, topology, senders, gathered_params, tensors)
    before += compare_s(sync, gpu, params, len(senders))
    after = tensors * sync.per_tensor_s + sync.reload_s
    rounds = tuple(_rounds(sync, nbytes, senders, engines))
    mine = frozenset(senders)
    sends = [i for i, r in enumerate(rounds) if any(a in mine for t in r for a, _ in t.pairs)]
    quantised = quantise_s(sync, gpu, params, tensors, len(senders), width)
    return SyncPlan(
        before_s=before + (quantised if sync.quantise == "sender" else 0.0),
        rounds=rounds,
        wire_fraction=sync.wire_fraction,
        pull_s=pull_s(sync, gpu, nbytes / width),
        after_s=after + (quantised if sync.quantise == "receiver" else 0.0),
        sending_rounds=max(sends, default=-1) + 1,
    )


def _rounds(
    sync: WeightSync, nbytes: float, senders: Devices, engines: Sequence[Devices]
) -> Iterator[tuple[Transfer, ...]]:
    if sync.by == "sender":
        for engine in engines:
            yield grouped(_parts(senders[:1], engine, nbytes))
    elif sync.by == "striped":
        moved: dict[Pair, float] = {}
        for engine in engines:
            moved |= _parts(senders, engine, nbytes)
        yield grouped(moved)
    else:
        yield from _relay(nbytes, (senders, *engines), sync.pieces)


def _relay(nbytes: float, chain: Sequence[Devices], pieces: int) -> Iterator[tuple[Transfer, ...]]:
    """A pipeline of hops: hop h sends piece k in turn h + k. Turns with the same hops at work are
    one round of so many pieces."""
    hops = [_parts(a, b, nbytes / pieces) for a, b in pairwise(chain)]
    turns = len(hops) + pieces - 1
    edges = sorted({*range(len(hops) + 1), *(h + pieces for h in range(len(hops)))} - {turns + 1})
    for begin, end in pairwise(edges):
        working = [hop for h, hop in enumerate(hops) if h <= begin < h + pieces]
        yield grouped({p: n * (end - begin) for hop in working for p, n in hop.items()})


def _parts(sources: Devices, destinations: Devices, nbytes: float) -> dict[Pair, float]:
    """Bytes by pair when the whole is cut over both."""
    return {
        (sources[i], destinations[j]): share * nbytes
        for i, j, share in overlaps(len(sources), len(destinations))
    }
