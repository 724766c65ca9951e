"""Direct: every device sends to every other at once, without relays."""

from __future__ import annotations

from sim.network.group import Amount, Group, Operation, most, quickest
from sim.settings import settings


@settings
class Direct:
    """Point-to-point, and all-to-all with all pairs in flight together.

    The share for the own domain and the share for the others leave through different links at the
    same time; the slower of the two counts. Launch and step are those of the machine's `direct`
    lines, once, plus those of its `scale_out` lines between domains."""

    def fits(self, operation: Operation, group: Group) -> bool:
        """`all_to_all` and `send`."""
        tuning = group.tuning
        return operation in ("all_to_all", "send") and bool(tuning.direct and tuning.scale_out)

    def seconds(self, operation: Operation, group: Group, nbytes: Amount) -> Amount:
        """max over (inside, outside) of launch + latency + share of the bytes ÷ bandwidth."""
        if group.domains == 1:
            return self._inside(group, nbytes)
        if operation == "send":
            return self._outside(group, nbytes)
        outside = (group.size - group.per_domain) / (group.size - 1)
        if not group.even:
            outside = 1.0
        if group.per_domain == 1:
            return self._outside(group, nbytes)
        return most(
            self._inside(group, nbytes * (1.0 - outside)), self._outside(group, nbytes * outside)
        )

    def _inside(self, group: Group, nbytes: Amount) -> Amount:
        lines, latency = group.tuning.direct, group.scale_up_latency_s
        return quickest(lines, 1, latency, nbytes, group.scale_up_bytes_per_s)

    def _outside(self, group: Group, nbytes: Amount) -> Amount:
        first = group.tuning.direct[0]
        lines, latency = group.tuning.scale_out, group.scale_out_latency_s
        sent = quickest(lines, 1, latency, nbytes, group.scale_out_bytes_per_s)
        return (first.launch_s + first.step_s) + sent
