"""What the chunks of a prompt say of its stays: its own share of compute, and where it resumed."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from sim.measure.ledger import Floats, Ints, Ledger
from sim.measure.stays import Stays
from sim.record.run_folder import RunFolder

_FAR = np.iinfo(np.int64).max


@dataclass(frozen=True, slots=True)
class Progress:
    """One array entry per stay (meaningful for those that computed a prompt)."""

    resume_row: Ints
    """Ledger row in which it got beyond what was computed before a preemption: its first row when
    it was never preempted, a row after its last when it never got beyond."""
    own_s: Floats
    """Compute seconds of its own chunks from that row on."""

    @classmethod
    def read(cls, run: RunFolder, ledger: Ledger, stays: Stays) -> Progress:
        """Read the chunks and give each to its stay."""
        c = run.columns("chunks", "request", "engine", "rank", "slot", "step", "tokens", "offset")
        row = ledger.find(c["engine"], c["rank"], c["slot"], c["step"])
        stay = _owner(stays, c["request"], row, len(ledger.key))
        known = stay >= 0
        row, stay, tokens = row[known], stay[known], c["tokens"][known]
        reached = c["offset"][known] + tokens
        resume = _resume_rows(stays, stay, row, reached)
        counts = row >= resume[stay]
        row, stay, tokens = row[counts], stay[counts], tokens[counts]
        share = tokens / ledger.prefill_tokens[row]
        own = np.bincount(stay, ledger.prompt_compute_s[row] * share, minlength=len(stays))
        return cls(resume, own.astype(np.float64))


def _owner(stays: Stays, request: Ints, row: Ints, rows: int) -> Ints:
    """The prompt stay whose rows hold each chunk; −1 for one that ran in another slot."""
    prompts = np.flatnonzero(~stays.decode)
    owner = np.full(len(request), -1, dtype=np.int64)
    if len(prompts) == 0 or len(request) == 0:
        return owner
    begins = stays.request[prompts] * rows + stays.low[prompts]
    order = np.argsort(begins, kind="stable")
    prompts = prompts[order]
    at = np.searchsorted(begins[order], request * rows + row, side="right") - 1
    found = prompts[np.maximum(at, 0)]
    fits = (at >= 0) & (stays.request[found] == request) & (row <= stays.high[found])
    return np.where(fits, found, owner)


def _resume_rows(stays: Stays, stay: Ints, row: Ints, reached: Ints) -> Ints:
    """`Progress.resume_row` of every stay."""
    resume = stays.low.copy()
    again = ~stays.decode & (stays.before(stays.sent_back) > 0)
    if not again.any():
        return resume
    generating = stays.before(stays.decode | ~stays.sent_back) > 0
    resume[again] = stays.high[again] + 1
    partial = again & ~generating
    beyond = partial[stay] & (reached > _lost_tokens(stays)[stay])
    first = np.full(len(stays), _FAR, dtype=np.int64)
    np.minimum.at(first, stay[beyond], row[beyond])
    return np.where(partial & (first < _FAR), first, resume)


def _lost_tokens(stays: Stays) -> Ints:
    """Most tokens that an earlier prompt stay of the same request had in the KV cache."""
    had = np.where(stays.decode, 0, stays.tokens + stays.cached_tokens)
    big = int(had.max(initial=0)) + 1
    top = np.maximum.accumulate(stays.request * big + had)
    before = np.zeros(len(stays), dtype=np.int64)
    before[1:] = top[:-1] - stays.request[1:] * big
    return np.where(stays.first, 0, before)
