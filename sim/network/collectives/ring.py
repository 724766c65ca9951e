"""Ring: every device passes 1/n of the data to its neighbour, n − 1 times per direction."""

from __future__ import annotations

from sim.network.group import Amount, Group, Operation, quickest
from sim.settings import settings

_ROUNDS = {"all_reduce": 2, "all_gather": 1, "reduce_scatter": 1}


@settings
class Ring:
    """All-reduce in 2(n−1) steps of bytes/n, all-gather and reduce-scatter in n−1 (Patarasuk and
    Yuan 2009). Across domains one ring enters and leaves each domain once, so that its bandwidth
    is one device's network link and `domains` of its n edges have the network's latency."""

    def fits(self, operation: Operation, group: Group) -> bool:
        """The three operations; an even group of several domains is left to `hierarchical`."""
        if operation not in _ROUNDS or not group.tuning.ring:
            return False
        return group.domains == 1 or (
            bool(group.tuning.scale_out) and (not group.even or group.per_domain == 1)
        )

    def seconds(self, operation: Operation, group: Group, nbytes: Amount) -> Amount:
        """launch + rounds · (n−1) · (latency + step) + rounds · (n−1)/n · bytes ÷ bandwidth
        + bytes/n ÷ copy rate (within one domain: the network is slower than any copy)."""
        n, rounds = group.size, _ROUNDS[operation]
        wire = nbytes * (rounds * (n - 1) / n)
        steps = rounds * (n - 1)
        tuning, near_s = group.tuning, group.scale_up_latency_s
        if group.domains == 1:
            bandwidth = group.scale_up_bytes_per_s
            return quickest(tuning.ring, steps, steps * near_s, wire, bandwidth, nbytes / n)
        outer = rounds * (group.domains - 1)
        line = tuning.ring[0]
        inner_s = line.launch_s + (steps - outer) * (near_s + line.step_s)
        far_s, bandwidth = outer * group.scale_out_latency_s, group.scale_out_bytes_per_s
        return inner_s + quickest(tuning.scale_out, outer, far_s, wire, bandwidth)
