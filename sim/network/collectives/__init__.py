"""Seconds that a collective takes alone on its wires: closed forms, one file per algorithm.

`default_collectives(group)` prices every operation by the quickest algorithm of the folder that
fits, as a serving engine with NCCL and a custom small-message all-reduce would choose; a second
argument names the engine whose all-reduce it is, or `none`. All algorithms are pure: no clock, no
sharing with other traffic.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache

from sim import plugins
from sim.errors import BrokenInvariant
from sim.network.group import (
    OPERATIONS,
    Algorithm,
    Amount,
    Custom,
    Group,
    Line,
    Operation,
    Tuning,
    least,
)

__all__ = [
    "Algorithm",
    "Collectives",
    "Custom",
    "Group",
    "Line",
    "Tuning",
    "default_collectives",
]


@dataclass(frozen=True, slots=True)
class Collectives:
    """The collectives of one group of devices; a group of one costs nothing.

    Each method takes bytes as a float or an array and gives seconds of the same shape, equal bits
    for both. A collective of 0 bytes still costs its launch and steps: where there is nothing to
    do, it is the caller who does not call.
    """

    group: Group
    chosen: dict[Operation, tuple[Algorithm, ...]]
    """By operation: the algorithms that fit, of which the quickest is taken."""

    def all_reduce_s(self, nbytes: Amount) -> Amount:
        """Every device holds a vector of `nbytes` and gets the sum."""
        return self._seconds("all_reduce", nbytes)

    def all_gather_s(self, nbytes: Amount) -> Amount:
        """Every device gets `nbytes` in all, of which each contributes 1/size."""
        return self._seconds("all_gather", nbytes)

    def reduce_scatter_s(self, nbytes: Amount) -> Amount:
        """Every device holds `nbytes` and gets 1/size of the sum."""
        return self._seconds("reduce_scatter", nbytes)

    def all_to_all_s(self, nbytes_per_rank: Amount) -> Amount:
        """Every device sends `nbytes_per_rank` in all to the others, evenly (what it keeps for
        itself does not count)."""
        return self._seconds("all_to_all", nbytes_per_rank)

    def send_s(self, nbytes: Amount) -> Amount:
        """One device sends `nbytes` to another of the group, across domains if it has several."""
        return self._seconds("send", nbytes)

    def _seconds(self, operation: Operation, nbytes: Amount) -> Amount:
        if self.group.size == 1:
            return nbytes * 0.0
        first, *rest = self.chosen[operation]
        best = first.seconds(operation, self.group, nbytes)
        for other in rest:
            best = least(best, other.seconds(operation, self.group, nbytes))
        return best


@cache
def _algorithms() -> tuple[Algorithm, ...]:
    folder = __name__
    return tuple(plugins.load(folder, name)() for name in plugins.names(folder))


def default_collectives(group: Group, custom: str | None = None) -> Collectives:
    """Every operation by the quickest algorithm of this folder that fits the group.

    `custom` names the engine whose own all-reduce serves small messages (`trtllm`, `vllm`: those
    of the topology's `collectives.custom`); `none` is NCCL alone; left out, the topology's first.
    Raises ScenarioError for an engine that the topology has no figures of.
    """
    tuned = replace(group, tuning=group.tuning.choose(custom))
    chosen: dict[Operation, tuple[Algorithm, ...]] = {}
    for operation in OPERATIONS:
        fitting = tuple(a for a in _algorithms() if a.fits(operation, tuned))
        if not fitting and tuned.size > 1:
            raise BrokenInvariant(f"no algorithm does '{operation}' for {tuned}")
        chosen[operation] = fitting
    return Collectives(tuned, chosen)
