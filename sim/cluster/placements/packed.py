"""Node after node: an engine goes to the first node with room for it, so that a pool fills nodes
and its engines are neighbours."""

from __future__ import annotations

from collections.abc import Sequence

from sim.cluster.placements import by_node
from sim.network.plan import Device
from sim.settings import settings


@settings
class Packed:
    """First node with room; engines larger than a node take whole nodes in order."""

    def pick(self, free: Sequence[Device], devices: int) -> list[Device] | None:
        """An engine never straddles nodes when it fits in one."""
        for members in by_node(free).values():
            if len(members) >= devices:
                return members[:devices]
        return list(free[:devices]) if len(free) >= devices else None
