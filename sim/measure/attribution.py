"""Where the time of a request went: TTFT and E2E split into parts that sum to the whole.

Every part is a sum of logged seconds or a difference of logged times; none is what was left over,
so that the sum is a check. A request's time is a chain of waits and stays:

    wait before the first stay    queue_s (and pipeline_s, when its first chunk ran in another slot)
    prefill                       own_prefill_s: compute that a step's chunks add, by its share of
                                  their tokens; batch_mates_s: the rest of the step's compute
    wait after a handed-off stay  handoff_wait_s until bytes flow (and the source is done),
                                  transfer_s without other traffic, contention_s by other traffic
    wait before decode            decode_queue_s, from the last byte (or the end of a prefill in
                                  the same engine) to the first decode step
    decode                        decode_s: its steps without their prefill; draft_s: of them, what
                                  drafting took where engines speculate (not in decode_s);
                                  stall_s: what prefill of others added to them, and passes of
                                  prefill only in between
    after a preemption            recompute_s: all time until it is back where it was

and in every step collective_s, host_s, rank_wait_s (for the slowest rank), pipeline_s (between
stages, and between steps of the slot) and contention_s. A request that was preempted in the middle
of its prompt is back when a chunk passes the token that had been reached.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from sim.errors import BrokenInvariant
from sim.measure.chunks import Progress
from sim.measure.latency import Requests
from sim.measure.ledger import Floats, Ints, Ledger
from sim.measure.stays import HANDED_OFF, Flags, Stays
from sim.measure.transfers import Handoffs
from sim.record.log import arrow_array
from sim.record.run_folder import RunFolder

PARTS = (
    "queue_s", "own_prefill_s", "batch_mates_s", "collective_s", "host_s", "rank_wait_s",
    "pipeline_s", "handoff_wait_s", "transfer_s", "contention_s", "decode_queue_s", "decode_s",
    "draft_s", "stall_s", "recompute_s",
)  # fmt: skip

TOLERANCE_S = 1e-9

ROUNDING_S = 1e-12
"""Less than this is the rounding of a difference that is nothing."""

IN_PROMPT = {
    "collective_s": "collective_s",
    "host_s": "host_s",
    "rank_wait_s": "rank_wait_s",
    "pipeline_s": "pipeline_s",
    "contention_s": "contention_s",
}
IN_DECODE = IN_PROMPT | {
    "collective_s": "decode_collective_s",
    "rank_wait_s": "decode_rank_wait_s",
    "decode_s": "decode_s",
    "draft_s": "draft_s",
    "stall_s": "stall_s",
}
"""Part → the kind of second in the ledger that it sums."""

GAPS = {"gap_s": "pipeline_s", "prefill_gap_s": "stall_s"}
"""Kind of gap between steps → the part that it is of a decode (of a prompt: `pipeline_s`)."""


@dataclass(frozen=True, slots=True)
class Split:
    """Seconds by part; every array has one entry per request."""

    parts: dict[str, Floats]

    @classmethod
    def empty(cls, requests: int) -> Split:
        return cls({part: np.zeros(requests) for part in PARTS})

    def add(self, part: str, request: Ints, seconds: Floats) -> None:
        """Add seconds to a part of the requests named (which may repeat)."""
        if len(request):
            total = self.parts[part]
            total += np.bincount(request, weights=seconds, minlength=len(total))


@dataclass(frozen=True, slots=True)
class Chain:
    """What is needed to split: stays in order of time, and what happened in and between them."""

    requests: Requests
    ledger: Ledger
    stays: Stays
    handoffs: Handoffs
    progress: Progress

    @classmethod
    def read(cls, run: RunFolder, requests: Requests, ledger: Ledger, stays: Stays) -> Chain:
        """The chain of the finished requests' stays."""
        stays = stays.only(requests.finished[stays.request])
        progress = Progress.read(run, ledger, stays)
        return cls(requests, ledger, stays, Handoffs.read(run), progress)

    def split(self, until_s: Floats) -> Split:
        """Parts of the time from arrival to `until_s` (one time per request; those of requests
        that did not finish mean nothing)."""
        split = Split.empty(len(self.requests))
        self._waits(split, until_s)
        self._prompts(split, until_s)
        self._decodes(split, until_s)
        return split

    def _waits(self, split: Split, until_s: Floats) -> None:
        """Time before each stay."""
        stays, requests = self.stays, self.requests
        limit = until_s[stays.request]
        begin = np.minimum(stays.begin_s, limit)
        first = np.flatnonzero(stays.first)
        who = stays.request[first]
        started = np.minimum(requests["first_step_s"][who], limit[first])
        split.add("queue_s", who, started - requests["arrival_s"][who])
        split.add("pipeline_s", who, begin[first] - started)

        end = np.minimum(stays.previous_end_s(), limit)
        back = self._waits_to_be_back()
        lost = np.flatnonzero(back)
        split.add("recompute_s", stays.request[lost], (begin - end)[lost])
        moved = np.zeros(len(stays), dtype=np.bool_)
        moved[1:] = stays.closed[:-1] == HANDED_OFF
        moved &= ~stays.first & ~back
        near = np.flatnonzero(~moved & ~stays.first & ~back)
        split.add("decode_queue_s", stays.request[near], (begin - end)[near])
        self._moves(split, np.flatnonzero(moved), end, begin, limit)

    def _waits_to_be_back(self) -> Flags:
        """Which waits are part of a preemption: before a prompt is computed again, and before the
        decode that follows a preempted stay or a prompt computed again from its start to its
        end."""
        stays = self.stays
        again = ~stays.decode & ~stays.first
        whole = again & (self.progress.resume_row > stays.high)
        after = np.zeros(len(stays), dtype=np.bool_)
        after[1:] = stays.sent_back[:-1] | whole[:-1]
        return np.asarray((again | after) & ~stays.first, dtype=np.bool_)

    def _moves(self, split: Split, at: Ints, end: Floats, begin: Floats, limit: Floats) -> None:
        """Waits between a handed-off stay and the stays `at`."""
        who = self.stays.request[at]
        start, alone, arrived = self.handoffs.before(self.stays, at)
        top = limit[at]
        start, arrived = np.minimum(start, top), np.minimum(arrived, top)
        clear = np.minimum(start + alone, arrived)
        split.add("handoff_wait_s", who, start - end[at])
        split.add("transfer_s", who, clear - start)
        split.add("contention_s", who, _no_rounding(arrived - clear))
        split.add("decode_queue_s", who, begin[at] - arrived)

    def _prompts(self, split: Split, until_s: Floats) -> None:
        """Time in stays that computed a prompt and ended by `until_s`."""
        stays, ledger = self.stays, self.ledger
        at = np.flatnonzero(~stays.decode & (stays.end_s <= until_s[stays.request]))
        who, low, high = stays.request[at], self.progress.resume_row[at], stays.high[at]
        back_s = np.where(low > high, stays.end_s[at], ledger.start_s[np.minimum(low, high)])
        split.add("recompute_s", who, back_s - stays.begin_s[at])
        normal = low <= high
        at, who, low, high = at[normal], who[normal], low[normal], high[normal]
        for part, kind in IN_PROMPT.items():
            split.add(part, who, ledger.between(kind, low, high))
        for kind in GAPS:
            split.add("pipeline_s", who, ledger.gaps(kind, low, high))
        own = self.progress.own_s[at]
        split.add("own_prefill_s", who, own)
        mates = ledger.between("compute_s", low, high) - own
        split.add("batch_mates_s", who, _no_rounding(mates))

    def _decodes(self, split: Split, until_s: Floats) -> None:
        """Time in stays that generated, of the first of its rows only the part before `until_s`.

        A row of several steps is split in proportion to time: the steps of a run differ only by
        the growth of their contexts.
        """
        stays, ledger = self.stays, self.ledger
        limit = until_s[stays.request]
        at = np.flatnonzero(stays.decode & (stays.begin_s < limit))
        who, low, high, top = stays.request[at], stays.low[at], stays.high[at], limit[at]
        cut = np.flatnonzero(top < stays.end_s[at])
        row = low[cut]
        high[cut] = row
        whole = ledger.end_s[row] - ledger.start_s[row]
        share = np.ones(len(at))
        share[cut] = np.minimum((top[cut] - ledger.start_s[row]) / whole, 1.0)
        for part, kind in IN_DECODE.items():
            split.add(part, who, ledger.between(kind, low, high) * share)
        for kind, part in GAPS.items():
            split.add(part, who, ledger.gaps(kind, low, high))


def _no_rounding(seconds: Floats) -> Floats:
    """The same seconds with rounding taken for nothing."""
    return np.where(np.abs(seconds) < ROUNDING_S, 0.0, seconds)


def attribute(chain: Chain) -> pa.Table:
    """One row per finished request: `request`, `ttft_…` and `e2e_…` for each of `PARTS`.

    Raises BrokenInvariant when the parts of a request do not sum to its TTFT or E2E.
    """
    requests = chain.requests
    finished = np.flatnonzero(requests.finished)
    columns: dict[str, pa.Array] = {"request": arrow_array(finished.astype(np.int64))}
    for whole, end in {"ttft": "first_token_s", "e2e": "end_s"}.items():
        split = chain.split(requests[end])
        check_attribution(whole, split, requests, end)
        for part, seconds in split.parts.items():
            columns[f"{whole}_{part}"] = arrow_array(seconds[finished])
    return pa.Table.from_arrays(list(columns.values()), names=list(columns))


def check_attribution(whole: str, split: Split, requests: Requests, end: str) -> None:
    """Raise BrokenInvariant, naming request and difference, unless the parts of every finished
    request sum to the time from its arrival to its column `end`.

    They do within a nanosecond, or within the rounding of the clock (one unit in its last place
    per step) where a run is so long that this is more.
    """
    total = requests[end] - requests["arrival_s"]
    slack = np.spacing(requests[end]) * (64 + requests["generated_tokens"])
    off = np.abs(sum(split.parts.values(), np.zeros(len(requests))) - total)
    wrong = requests.finished & ~(off <= np.maximum(TOLERANCE_S, slack))
    if wrong.any():
        i = int(np.argmax(wrong))
        given = ", ".join(f"{name} {v[i]:.9g}" for name, v in split.parts.items() if v[i])
        raise BrokenInvariant(
            f"request {i}: the parts of its {whole} differ from the whole "
            f"({total[i]:.9g} s) by {off[i]:.3g} s: {given}"
        )
