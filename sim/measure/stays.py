"""Stays of requests in engines, in order of time, each with its rows in the ledger of steps."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sim.errors import BrokenInvariant
from sim.measure.ledger import Floats, Ints, Ledger
from sim.record.run_folder import RunFolder
from sim.record.tables import CLOSED, STAGES

Flags = NDArray[np.bool_]

DECODE = STAGES.index("decode")
COMPLETE = tuple(CLOSED.index(c) for c in ("finished", "handed_off", "decoding"))
HANDED_OFF = CLOSED.index("handed_off")
SENT_BACK = tuple(CLOSED.index(c) for c in ("preempted", "failed", "withdrawn"))

READ = (
    "request", "engine", "rank", "slot", "stage", "first_step", "last_step", "tokens",
    "cached_tokens", "closed", "enter_s",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Stays:
    """Stays that ran at least one step, sorted by request and time; one array entry per stay."""

    request: Ints
    engine: Ints
    slot: Ints
    decode: Flags
    """Whether it generated; else it computed a prompt, for the first time or again."""
    first_step: Ints
    last_step: Ints
    tokens: Ints
    cached_tokens: Ints
    closed: Ints
    low: Ints
    """Ledger row of its first step."""
    high: Ints
    """Ledger row of its last step."""
    begin_s: Floats
    """Start of its first step."""
    end_s: Floats
    """End of its last step."""
    first: Flags
    """Whether it is its request's first stay."""

    @classmethod
    def read(cls, run: RunFolder, ledger: Ledger) -> Stays:
        """Read the intervals and find their steps.

        Raises BrokenInvariant when one does not begin and end at bounds of runs of steps.
        """
        c = run.columns("intervals", *READ)
        prompt = c["stage"] != DECODE
        ran = (c["last_step"] >= 0) & (prompt | (c["last_step"] >= c["first_step"]))
        c = {name: values[ran] for name, values in c.items()}
        if ledger.lanes.slots > 1:
            prompts = np.flatnonzero(prompt[ran])
            c["first_step"][prompts] = _first_steps(run, ledger, c, prompts)
        low = ledger.find(c["engine"], c["rank"], c["slot"], c["first_step"])
        high = ledger.find(c["engine"], c["rank"], c["slot"], c["last_step"])
        _check_bounds(c, ledger, low, high)
        begin = ledger.start_s[low]
        order = np.lexsort((begin, c["request"]))
        c = {name: values[order] for name, values in c.items()}
        low, high = low[order], high[order]
        first = np.ones(len(low), dtype=np.bool_)
        first[1:] = c["request"][1:] != c["request"][:-1]
        return cls(
            c["request"], c["engine"], c["slot"], c["stage"] == DECODE, c["first_step"],
            c["last_step"], c["tokens"], c["cached_tokens"], c["closed"], low, high,
            begin[order], ledger.end_s[high], first,
        )  # fmt: skip

    def __len__(self) -> int:
        return len(self.request)

    def only(self, which: Flags) -> Stays:
        """Some of the stays: all or none of each request's."""
        if which.all():
            return self
        return Stays(*(getattr(self, f.name)[which] for f in fields(self)))

    @property
    def sent_back(self) -> Flags:
        """Whether it ended by preemption, a fault, or being taken out of its engine."""
        return np.isin(self.closed, SENT_BACK)

    def before(self, what: Flags) -> Ints:
        """How many earlier stays of the same request are so."""
        counts: Ints = np.cumsum(what) - what
        return np.asarray(counts - counts[self.firsts()], dtype=np.int64)

    def firsts(self) -> Ints:
        """For each stay, the position of its request's first."""
        where = np.where(self.first, np.arange(len(self)), 0)
        return np.asarray(np.maximum.accumulate(where), dtype=np.int64)

    def previous_end_s(self) -> Floats:
        """End of the same request's stay before; NaN for its first."""
        shifted = np.full(len(self), np.nan)
        shifted[1:] = self.end_s[:-1]
        shifted[self.first] = np.nan
        return shifted


def _first_steps(run: RunFolder, ledger: Ledger, c: dict[str, NDArray[Any]], at: Ints) -> Ints:
    """First step of each prompt stay `at` in the slot of its last chunk.

    The chunks of a prompt may travel in several slots, so it is looked up among them: the first
    one in that lane that began when the stay had been entered. (Chunks of an earlier stay of the
    request may lie in the same lane, whichever lane that stay ended in.)
    """
    lanes = ledger.lanes
    many = int(ledger.key[-1]) // lanes.steps + 1 if len(ledger.key) else 1
    k = run.columns("chunks", "request", "engine", "rank", "slot", "step")
    place = k["request"] * many + lanes.lane(k["engine"], k["rank"], k["slot"])
    begun_s = ledger.start_s[ledger.find(k["engine"], k["rank"], k["slot"], k["step"])]
    mine = (c["request"] * many + lanes.lane(c["engine"], c["rank"], c["slot"]))[at]
    stays, chunks = len(mine), len(place)
    kind = np.repeat([0, 1], [stays, chunks])
    where, when_s = np.concatenate([mine, place]), np.concatenate([c["enter_s"][at], begun_s])
    order = np.lexsort((kind, when_s, where))
    following = np.where(kind[order] == 1, np.arange(len(order)), len(order) - 1)
    following = np.minimum.accumulate(following[::-1])[::-1]
    steps = c["first_step"][at].copy()
    asking = np.flatnonzero(kind[order] == 0)
    found = order[following[asking]] - stays
    known = found >= 0
    steps[order[asking[known]]] = k["step"][found[known]]
    return steps


def _check_bounds(c: dict[str, NDArray[Any]], ledger: Ledger, low: Ints, high: Ints) -> None:
    """Every stay begins with a run's first step and ends with a run's last."""
    if len(low) == 0:
        return
    lanes = ledger.lanes
    fits = np.zeros(len(low), dtype=np.bool_)
    if len(ledger.key):
        begins = ledger.key[low] == lanes.key(c["engine"], c["rank"], c["slot"], c["first_step"])
        same_lane = ledger.key[high] // lanes.steps == ledger.key[low] // lanes.steps
        fits = (low >= 0) & begins & same_lane & (ledger.last_step(high) == c["last_step"])
    if not fits.all():
        i = int(np.argmin(fits))
        raise BrokenInvariant(
            f"request {c['request'][i]}: its stay in engine {c['engine'][i]} (rank {c['rank'][i]},"
            f" slot {c['slot'][i]}), steps {c['first_step'][i]} to {c['last_step'][i]}, does not"
            " begin and end at bounds of runs of steps"
        )
