"""One-shot all-reduce: every device reads all others' buffers and adds them up itself."""

from __future__ import annotations

from typing import Annotated

import numpy as np
from pydantic import Field

from sim.network.group import Amount, Group, Operation, quickest
from sim.settings import settings
from sim.units import Bytes


@settings
class OneShot:
    """One step and (n−1) · bytes over each link: the custom all-reduce of serving engines for small
    messages (vLLM, TensorRT-LLM), inside one scale-up domain."""

    max_bytes: Annotated[Bytes, Field(gt=0.0)] = 8.0 * 2**20
    """Largest message that its buffers hold: `max_size` of vLLM's `CustomAllreduce`."""

    def fits(self, operation: Operation, group: Group) -> bool:
        """All-reduce inside one domain, on a machine with `one_shot` lines."""
        return operation == "all_reduce" and group.domains == 1 and bool(group.tuning.one_shot)

    def seconds(self, operation: Operation, group: Group, nbytes: Amount) -> Amount:
        """launch + latency + (n−1) · bytes ÷ bandwidth; infinite beyond `max_bytes`."""
        wire = nbytes * (group.size - 1)
        lines, latency = group.tuning.one_shot, group.scale_up_latency_s
        seconds = quickest(lines, 1, latency, wire, group.scale_up_bytes_per_s)
        if isinstance(nbytes, np.ndarray):
            return np.where(nbytes <= self.max_bytes, seconds, np.inf)
        return seconds if nbytes <= self.max_bytes else float("inf")
