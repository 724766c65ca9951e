"""Two-shot all-reduce: every device reduces its share of the data, then reads those of the rest."""

from __future__ import annotations

from sim.network.group import Amount, Group, Operation, quickest, within
from sim.settings import settings


@settings
class TwoShot:
    """A reduce-scatter and an all-gather by direct reads: two steps, and 2 · (n−1)/n · bytes over
    each link. What serving engines do with messages too large for `one_shot` (vLLM's custom and
    symmetric-memory all-reduce, TensorRT-LLM's two-shot), inside one scale-up domain. A line's
    step counts per peer and step."""

    def fits(self, operation: Operation, group: Group) -> bool:
        """All-reduce inside one domain, on a machine with `two_shot` lines."""
        return operation == "all_reduce" and group.domains == 1 and bool(group.tuning.two_shot)

    def seconds(self, operation: Operation, group: Group, nbytes: Amount) -> Amount:
        """launch + 2 · latency + 2 · (n−1) · (step + bytes/n ÷ bandwidth) + bytes/n ÷ copy rate;
        infinite beyond `max_shot_bytes`."""
        n, tuning = group.size, group.tuning
        visits = 2 * (n - 1)
        wires_s, bandwidth = 2 * group.scale_up_latency_s, group.scale_up_bytes_per_s
        wire, kept = nbytes * (visits / n), nbytes / n
        seconds = quickest(tuning.two_shot, visits, wires_s, wire, bandwidth, kept)
        return within(tuning.max_shot_bytes, nbytes, seconds)
