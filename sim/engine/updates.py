"""What new weights do to an engine between two passes: versions of tokens, and KV that is old."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sim.engine.rank import Rank
from sim.engine.stays import PREEMPTED
from sim.errors import BrokenInvariant

if TYPE_CHECKING:
    from sim.engine.engine import Engine


def set_version(engine: Engine, version: int) -> None:
    """Tokens made until now keep the version that made them; O(sequences in the engine)."""
    _check_quiet(engine, "its version set")
    for rank in engine.ranks:
        for members in (rank.running, rank.waiting, rank.arrived, rank.held):
            for sequence in members:
                if sequence.made:
                    sequence.mark(engine.version)
    engine.version = version


def flush(engine: Engine, *, keep_kv: bool) -> None:
    """Forget prefix blocks; without `keep_kv` also the KV of those who run or are about to."""
    _check_quiet(engine, "its KV flushed")
    for rank in engine.ranks:
        if not keep_kv:
            _send_all_back(engine, rank)
        rank.forget_prefixes()
    engine.poke()


def _send_all_back(engine: Engine, rank: Rank) -> None:
    """Those admitted first wait first; those who have just come wait behind them."""
    arrived = list(rank.arrived)
    rank.arrived.clear()
    for sequence in reversed(arrived):
        rank.put_back(sequence)
        engine.gauges.computed(rank.index, -sequence.target)
    for sequence in reversed(list(rank.running)):
        left = sequence.target - sequence.computed if sequence.lane is None else 0
        engine.stays.end(rank, rank.stop(sequence), sequence, PREEMPTED)
        rank.put_back(sequence)
        engine.gauges.computed(rank.index, left - sequence.target)


def _check_quiet(engine: Engine, what: str) -> None:
    if not engine.departures.quiet:
        raise BrokenInvariant(
            f"engine {engine.number} had {what} at {engine.clock.now} s in the middle of a pass; "
            "pause it and wait until it is quiet"
        )
