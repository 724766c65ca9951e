"""Which devices an engine gets, one policy a file."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from sim.network.plan import Device


class Placement(Protocol):
    """What every file here provides."""

    def pick(self, free: Sequence[Device], devices: int) -> list[Device] | None:
        """`devices` of the free ones (in order of index, at least one), or None if there are too
        few."""


def by_node(free: Sequence[Device]) -> dict[int, list[Device]]:
    """Free devices of every node."""
    nodes: dict[int, list[Device]] = {}
    for device in free:
        nodes.setdefault(device.node, []).append(device)
    return nodes
