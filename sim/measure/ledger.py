"""The steps of a run as a ledger: sums of every kind of second between any two steps of a slot.

Rows of `steps` are sorted by lane (engine, rank, slot) and step, and summed from the first row to
the last. A stay of a request begins and ends at row bounds, so what it spent on anything is one
difference. The sums are whole numbers of 2⁻⁴⁶ s (14 fs): differences of whole numbers are exact
whatever went before, also past 2⁶³, for stays of up to 36 hours.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sim.errors import BrokenInvariant
from sim.measure.step_rows import step_rows
from sim.record.run_folder import RunFolder

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]

TICKS_PER_S = 2.0**46

KINDS = (
    "compute_s",
    "collective_s",
    "host_s",
    "rank_wait_s",
    "pipeline_s",
    "contention_s",
    "decode_s",
    "decode_collective_s",
    "decode_rank_wait_s",
    "draft_s",
    "stall_s",
)
"""What the seconds of a step are split into. `compute` (drafting included), `collective`, `host`,
`rank_wait`, `pipeline` and `contention` make its duration. `decode`, `decode_collective`,
`decode_rank_wait`, `draft` and `stall` make `compute + collective + rank_wait` once more, as seen
by a sequence that decodes in it."""

READ = (
    "engine", "rank", "slot", "first_step", "n", "start_s", "end_s", "prefill_tokens", "decodes",
    "linear_s", "attention_s", "experts_s", "collective_s", "host_s", "rank_wait_s", "pipeline_s",
    "contention_s", "decode_alone_s", "decode_alone_collective_s", "prefill_gap_s", "draft_s",
    "decode_alone_draft_s", "accepted",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Lanes:
    """Numbers for (engine, rank, slot), and for a step of one of them."""

    ranks: int
    slots: int
    steps: int

    def lane(self, engine: Ints, rank: Ints, slot: Ints) -> Ints:
        """One number per (engine, rank, slot)."""
        return (engine * self.ranks + rank) * self.slots + slot

    def key(self, engine: Ints, rank: Ints, slot: Ints, step: Ints) -> Ints:
        """One number per step of a lane, ascending in it."""
        return self.lane(engine, rank, slot) * self.steps + step


@dataclass(frozen=True, slots=True)
class Ledger:
    """Rows of `steps` sorted by lane and step; arrays have one entry per row."""

    lanes: Lanes
    key: Ints
    """Lane and first step."""
    n: Ints
    start_s: Floats
    end_s: Floats
    prefill_tokens: Ints
    accepted: Ints
    """Drafts that were accepted: tokens of decodes beside one a step."""
    prompt_compute_s: Floats
    """Compute seconds that the chunks of a step added to its decodes; all of them without any."""
    sums: dict[str, Ints]
    """Kind → ticks of all rows before; one entry more than rows. Besides `KINDS`, the time between
    a row and the one before in its lane: `prefill_gap_s` while the engine ran passes of prefill
    only, and `gap_s`, the rest."""

    @classmethod
    def read(cls, run: RunFolder) -> Ledger:
        """Read and sort the steps. Raises BrokenInvariant when those of a slot overlap."""
        c = step_rows(run, *READ)
        lanes = _lanes(c)
        key = lanes.key(c["engine"], c["rank"], c["slot"], c["first_step"])
        order = np.argsort(key, kind="stable")
        c = {name: c.pop(name)[order] for name in READ}  # each copy frees its original
        key = key[order]
        split = _split(c, _has_prefill(c, lanes))
        gap = _gaps(c, key // lanes.steps)
        split["prefill_gap_s"] = np.minimum(c["prefill_gap_s"], gap)
        split["gap_s"] = gap - split["prefill_gap_s"]
        return cls(
            lanes, key, c["n"], c["start_s"], c["end_s"], c["prefill_tokens"],
            c["accepted"].astype(np.int64), _prompt_compute(c, split["compute_s"]),
            {kind: _ticks(split.pop(kind)) for kind in list(split)},
        )  # fmt: skip

    def find(self, engine: Ints, rank: Ints, slot: Ints, step: Ints) -> Ints:
        """Row that holds each step. Only for steps that were logged."""
        key = self.lanes.key(engine, rank, slot, step)
        return np.asarray(np.searchsorted(self.key, key, side="right") - 1, dtype=np.int64)

    def last_step(self, row: Ints) -> Ints:
        """Number of the last step in each row."""
        return np.asarray(self.key[row] % self.lanes.steps + self.n[row] - 1, dtype=np.int64)

    def between(self, kind: str, low: Ints, high: Ints) -> Floats:
        """Seconds of `kind` in rows `low` to `high` inclusive."""
        sums = self.sums[kind]
        return np.asarray((sums[high + 1] - sums[low]) / TICKS_PER_S)

    def gaps(self, kind: str, low: Ints, high: Ints) -> Floats:
        """Seconds of a kind of gap between rows `low` and `high` (not before the first)."""
        sums = self.sums[kind]
        return np.asarray((sums[high + 1] - sums[low + 1]) / TICKS_PER_S)


def _lanes(c: dict[str, NDArray[Any]]) -> Lanes:
    if len(c["n"]) == 0:
        return Lanes(1, 1, 1)
    return Lanes(
        int(c["rank"].max()) + 1,
        int(c["slot"].max()) + 1,
        int((c["first_step"] + c["n"]).max()) + 1,
    )


def _has_prefill(c: dict[str, NDArray[Any]], lanes: Lanes) -> NDArray[np.bool_]:
    """Whether any rank computed a prompt in the step of each row."""
    mine = np.asarray(c["prefill_tokens"] > 0, dtype=np.bool_)
    if lanes.ranks == 1 or not mine.any():
        return mine
    step = lanes.key(c["engine"], np.zeros_like(c["rank"]), c["slot"], c["first_step"])
    return np.isin(step, np.unique(step[mine]))


def _split(c: dict[str, NDArray[Any]], mixed: NDArray[np.bool_]) -> dict[str, Floats]:
    """Seconds of every kind, per row.

    In a step with prefill in any rank, a decoding sequence would have taken the price of the same
    step without its prefill (waiting for ranks that decode more is in it); stall is the rest.
    """
    compute = c["linear_s"] + c["attention_s"] + c["experts_s"] + c["draft_s"]
    drafting = np.where(c["decodes"] > 0, c["draft_s"], 0.0)
    drafting = np.where(mixed, c["decode_alone_draft_s"], drafting)
    work = compute + c["collective_s"] + c["host_s"] + c["rank_wait_s"]
    return {
        "compute_s": compute,
        "collective_s": c["collective_s"],
        "host_s": c["host_s"],
        "rank_wait_s": c["rank_wait_s"],
        "pipeline_s": c["pipeline_s"],
        "contention_s": c["contention_s"],
        "decode_s": np.where(mixed, _alone_compute(c), compute) - drafting,
        "decode_collective_s": np.where(mixed, c["decode_alone_collective_s"], c["collective_s"]),
        "decode_rank_wait_s": np.where(mixed, 0.0, c["rank_wait_s"]),
        "draft_s": drafting,
        "stall_s": np.where(mixed, work - c["decode_alone_s"], 0.0),
    }


def _alone_compute(c: dict[str, NDArray[Any]]) -> Floats:
    """What a step without its prefill spends besides collectives and host, per row."""
    return np.asarray(c["decode_alone_s"] - c["decode_alone_collective_s"] - c["host_s"])


def _prompt_compute(c: dict[str, NDArray[Any]], compute: Floats) -> Floats:
    """Compute seconds that the chunks of each row added to its decodes."""
    alone = np.where(c["decodes"] > 0, np.minimum(_alone_compute(c), compute), 0.0)
    return np.where(c["prefill_tokens"] > 0, compute - alone, 0.0)


def _gaps(c: dict[str, NDArray[Any]], lane: Ints) -> Floats:
    """Seconds between the end of a lane's row before and the start of this; 0 for its first."""
    gap = np.zeros(len(lane))
    if len(lane) > 1:
        same = lane[1:] == lane[:-1]
        gap[1:] = np.where(same, c["start_s"][1:] - c["end_s"][:-1], 0.0)
        if gap.min() < -1e-9:
            row = int(gap.argmin())
            raise BrokenInvariant(
                f"engine {c['engine'][row]} slot {c['slot'][row]}: the step at "
                f"{c['start_s'][row]!r} s starts before the one before it ends"
            )
    return gap


def _ticks(seconds: Floats) -> Ints:
    """Running sum in ticks, from 0."""
    sums = np.zeros(len(seconds) + 1, dtype=np.int64)
    np.cumsum(np.rint(seconds * TICKS_PER_S).astype(np.int64), out=sums[1:])
    return sums
