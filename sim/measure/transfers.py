"""Handoffs of KV, matched with the stays that they connect."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from sim.measure.ledger import Floats, Ints
from sim.measure.stays import HANDED_OFF, Stays
from sim.record.run_folder import RunFolder
from sim.record.tables import TRANSFER_KINDS

HANDOFF = TRANSFER_KINDS.index("handoff")


@dataclass(frozen=True, slots=True)
class Handoffs:
    """Handoffs sorted by request and time; one array entry per transfer."""

    request: Ints
    start_s: Floats
    """When bytes flowed and the source had all of them: what came before overlaps with prefill."""
    alone_s: Floats
    end_s: Floats

    @classmethod
    def read(cls, run: RunFolder) -> Handoffs:
        """Read the handoffs of a run."""
        c = run.columns(
            "transfers", "request", "kind", "asked_s", "start_s", "ready_s", "end_s", "alone_s"
        )
        keep = c["kind"] == HANDOFF
        c = {name: values[keep] for name, values in c.items()}
        order = np.lexsort((c["asked_s"], c["request"]))
        c = {name: values[order] for name, values in c.items()}
        start = np.fmax(c["start_s"], c["ready_s"])
        return cls(c["request"], start, c["alone_s"], c["end_s"])

    def before(self, stays: Stays, at: Ints) -> tuple[Floats, Floats, Floats]:
        """Start, time alone and end of the handoff before each of the stays `at`.

        The k-th handed-off stay of a request belongs to its k-th handoff. Where there is none (the
        KV did not move), it starts, takes nothing and ends when the stay before ends.
        """
        kth = stays.before(stays.closed == HANDED_OFF)[at] - 1
        index = np.searchsorted(self.request, stays.request[at], side="left") + kth
        end = stays.previous_end_s()[at]
        if len(self.request) == 0:
            return end, np.zeros(len(at)), end
        index = np.minimum(index, len(self.request) - 1)
        found = (self.request[index] == stays.request[at]) & ~np.isnan(self.end_s[index])
        begin = stays.begin_s[at]
        start = np.where(found, np.clip(self.start_s[index], end, begin), end)
        arrived = np.where(found, np.clip(self.end_s[index], start, begin), end)
        return start, np.where(found, self.alone_s[index], 0.0), arrived
