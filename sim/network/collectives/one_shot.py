"""One-shot all-reduce: every device reads all others' buffers and adds them up itself."""

from __future__ import annotations

from sim.network.group import Amount, Group, Operation, quickest, within
from sim.settings import settings


@settings
class OneShot:
    """One step and (n−1) · bytes over each link: the custom all-reduce of serving engines for small
    messages (vLLM, TensorRT-LLM), inside one scale-up domain. A line's step counts per peer."""

    def fits(self, operation: Operation, group: Group) -> bool:
        """All-reduce inside one domain, on a machine with `one_shot` lines."""
        return operation == "all_reduce" and group.domains == 1 and bool(group.tuning.one_shot)

    def seconds(self, operation: Operation, group: Group, nbytes: Amount) -> Amount:
        """launch + latency + (n−1) · (step + bytes ÷ bandwidth) + bytes ÷ copy rate; infinite
        beyond `max_shot_bytes`."""
        peers, tuning = group.size - 1, group.tuning
        bandwidth, latency = group.scale_up_bytes_per_s, group.scale_up_latency_s
        seconds = quickest(tuning.one_shot, peers, latency, nbytes * peers, bandwidth, nbytes)
        return within(tuning.max_shot_bytes, nbytes, seconds)
