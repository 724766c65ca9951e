"""The emptiest node first: the engines of every pool are spread over all nodes, so that a prefill
engine finds decode engines in its own NVLink domain."""

from __future__ import annotations

from collections.abc import Sequence

from sim.cluster.placements import by_node
from sim.network.plan import Device
from sim.settings import settings


@settings
class Striped:
    """Node with the most free devices; of equal ones the first."""

    def pick(self, free: Sequence[Device], devices: int) -> list[Device] | None:
        """An engine never straddles nodes when it fits in one."""
        nodes = by_node(free)
        fullest = max(nodes, key=lambda n: (len(nodes[n]), -n))
        if len(nodes[fullest]) >= devices:
            return nodes[fullest][:devices]
        return list(free[:devices]) if len(free) >= devices else None
