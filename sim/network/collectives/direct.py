"""Direct: every device sends to every other at once, without relays."""

from __future__ import annotations

from sim.network.group import Amount, Group, Operation, most, quickest
from sim.settings import settings


@settings
class Direct:
    """Point-to-point, and all-to-all with all pairs in flight together.

    The share for the own domain and the share for the others leave through different links at the
    same time; the slower of the two counts. Launch and wires count once, a line's step for every
    peer, its copy for the share of an all-to-all that a device keeps; between domains the
    `scale_out` lines count once more."""

    def fits(self, operation: Operation, group: Group) -> bool:
        """`all_to_all` and `send`."""
        tuning = group.tuning
        return operation in ("all_to_all", "send") and bool(tuning.direct and tuning.scale_out)

    def seconds(self, operation: Operation, group: Group, nbytes: Amount) -> Amount:
        """max over (inside, outside) of launch + peers · step + latency + share of the bytes ÷
        bandwidth + bytes kept ÷ copy rate."""
        if operation == "send":
            inside = group.domains == 1
            return _inside(group, 1, nbytes) if inside else _outside(group, 1, nbytes)
        n = group.size
        kept = nbytes / (n - 1)
        if group.domains == 1:
            return _inside(group, n - 1, nbytes, kept)
        outside = (n - group.per_domain) / (n - 1) if group.even else 1.0
        sent = _outside(group, n - 1, nbytes * outside)
        if group.per_domain == 1:
            return sent
        return most(_inside(group, group.per_domain - 1, nbytes * (1.0 - outside), kept), sent)


def _inside(group: Group, peers: int, wire: Amount, kept: Amount | None = None) -> Amount:
    lines, latency = group.tuning.direct, group.scale_up_latency_s
    return quickest(lines, peers, latency, wire, group.scale_up_bytes_per_s, kept)


def _outside(group: Group, peers: int, nbytes: Amount) -> Amount:
    first = group.tuning.direct[0]
    lines, latency = group.tuning.scale_out, group.scale_out_latency_s
    sent = quickest(lines, 1, latency, nbytes, group.scale_out_bytes_per_s)
    return (first.launch_s + peers * first.step_s) + sent
