"""In-switch all-reduce (NVLink SHARP): the switch adds, every device sends and gets once."""

from __future__ import annotations

from sim.network.group import Amount, Group, Operation, quickest
from sim.settings import settings


@settings
class InSwitch:
    """Two steps (up and down) and `bytes` over each link, whatever the size of the group. Between
    two devices there is nothing to gain: NCCL keeps to its ring, as the measured bandwidth of two
    GPUs shows (AIConfigurator's NCCL tables: 318 GB/s on 2 H100, 445 on 8)."""

    def fits(self, operation: Operation, group: Group) -> bool:
        """All-reduce of three devices or more inside one domain whose switch can add."""
        inside = group.domains == 1 and group.size > 2
        return operation == "all_reduce" and inside and bool(group.tuning.in_switch)

    def seconds(self, operation: Operation, group: Group, nbytes: Amount) -> Amount:
        """launch + 2 · (latency + step) + bytes ÷ bandwidth."""
        wires_s, bandwidth = 2 * group.scale_up_latency_s, group.scale_up_bytes_per_s
        return quickest(group.tuning.in_switch, 2, wires_s, nbytes, bandwidth)
