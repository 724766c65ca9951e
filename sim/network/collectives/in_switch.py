"""In-switch all-reduce (NVLink SHARP): the switch adds, every device sends and gets once."""

from __future__ import annotations

from sim.network.group import Amount, Group, Operation, quickest
from sim.settings import settings


@settings
class InSwitch:
    """Two steps (up and down) and `bytes` over each link, whatever the size of the group."""

    def fits(self, operation: Operation, group: Group) -> bool:
        """All-reduce inside one domain whose switch can add."""
        return operation == "all_reduce" and group.domains == 1 and bool(group.tuning.in_switch)

    def seconds(self, operation: Operation, group: Group, nbytes: Amount) -> Amount:
        """launch + 2 · latency + bytes ÷ bandwidth."""
        lines, latency = group.tuning.in_switch, group.scale_up_latency_s
        return quickest(lines, 2, latency, nbytes, group.scale_up_bytes_per_s)
