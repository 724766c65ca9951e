"""Gaps between adjacent tokens, pooled over all tokens, without writing any token out.

A sequence that decodes in a slot gets one token at the end of each of its steps, so the gaps
inside its stay are differences of the slot's clock. How many sequences share the gap that ends at
step s is the number of stays with first step < s ≤ last step: a running sum of +1 and −1. To this
come the gaps from one stay's last token to the next one's first (end of prefill to first decode
step, and across preemptions). For every finished request they add up to `end_s − first_token_s`.

A completed prompt computation makes a token when it ends (recomputing after a preemption too: it
computes all that was there and samples the next one). An engine that speculates gives a sequence
several tokens at the end of one step: they are visible at once, so all but one have gaps of zero.
Where a request has fewer tokens than that, its silent ones are the first when the first token came
from decode, else the last.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from sim.errors import BrokenInvariant
from sim.measure.latency import Requests
from sim.measure.ledger import Floats, Ints
from sim.measure.quantiles import Weighted
from sim.measure.stays import Flags, Stays
from sim.record.run_folder import RunFolder


@dataclass(frozen=True, slots=True)
class SlotClocks:
    """Ends of all steps, slot after slot, and how many tokens each step made."""

    base: Ints
    """By engine · slots + slot: position of step 0."""
    slots: int
    end_s: Floats

    @classmethod
    def read(cls, run: RunFolder) -> SlotClocks:
        """Read the clock table. Raises BrokenInvariant when a slot's steps have holes."""
        c = run.columns("clock")
        if len(c["step"]) == 0:
            return cls(np.zeros(1, dtype=np.int64), 1, np.zeros(0))
        slots = int(c["slot"].max()) + 1
        lane = c["engine"] * slots + c["slot"]
        small = lane.max() < np.iinfo(np.uint16).max  # numpy sorts these in one pass
        order = np.argsort(lane.astype(np.uint16) if small else lane, kind="stable")
        lane, step = lane[order], c["step"][order]
        starts = np.flatnonzero(np.r_[True, lane[1:] != lane[:-1]])
        base = np.zeros(int(lane[-1]) + 1, dtype=np.int64)
        base[lane[starts]] = starts - step[starts]
        holes = step + base[lane] != np.arange(len(step))
        if holes.any():
            i = int(np.argmax(holes))
            raise BrokenInvariant(
                f"the clock of engine {lane[i] // slots}, slot {lane[i] % slots} has no row for"
                f" the step before {step[i]}"
            )
        return cls(base, slots, c["end_s"][order])

    def position(self, engine: Ints, slot: Ints, step: Ints) -> Ints:
        """Index into `end_s` of a step."""
        return np.asarray(self.base[engine * self.slots + slot] + step, dtype=np.int64)


@dataclass(frozen=True, slots=True)
class FirstGaps:
    """Gaps before the first tokens of stays, for all but the requests' first tokens."""

    gap_s: Floats
    end_s: Floats
    """Time of the token."""
    request: Ints
    """Whose it is."""

    def between(self, start_s: float, end_s: float) -> Floats:
        """Gaps before the tokens made in (start, end]."""
        return self.gap_s[(self.end_s > start_s) & (self.end_s <= end_s)]


@dataclass(frozen=True, slots=True)
class Tokens:
    """When tokens were made: in steps (many at once) and one by one, with the gaps before them."""

    step_end_s: Floats
    """End of every step of every slot."""
    step_tokens: Ints
    """Decode tokens made then."""
    step_gap_s: Floats
    """Gap before the tokens of this step that are not their stay's first."""
    step_gaps: Ints
    """How many such tokens."""
    step_bursts: Ints
    """Tokens of this step that came together with another of their sequence: gaps of zero, where
    engines speculate."""
    prompt_end_s: Floats
    """Times of the tokens made by prompt computations."""
    firsts: FirstGaps

    @classmethod
    def read(cls, run: RunFolder, stays: Stays, requests: Requests) -> Tokens:
        """Count the tokens of a run."""
        clocks = SlotClocks.read(run)
        decode = stays.decode
        low = clocks.position(stays.engine[decode], stays.slot[decode], stays.first_step[decode])
        high = clocks.position(stays.engine[decode], stays.slot[decode], stays.last_step[decode])
        size = len(clocks.end_s)
        gap = np.zeros(size)
        gap[1:] = clocks.end_s[1:] - clocks.end_s[:-1]
        made = prompt_tokens_made(stays, requests)
        firsts = first_gaps(requests, stays, clocks.end_s[low], made)
        took_part = cover(size, low, high)
        tokens = _given(run, clocks, took_part)
        return cls(
            clocks.end_s, tokens, gap, cover(size, low + 1, high), tokens - took_part,
            stays.end_s[made], firsts,
        )  # fmt: skip

    def gaps(
        self, start_s: float = -np.inf, end_s: float = np.inf, *, bursts: bool = False
    ) -> Weighted:
        """Gaps before the tokens made in (start, end]; with `bursts` before those alone that did
        not come together with another of their sequence (inter-chunk latency)."""
        steps = (self.step_end_s > start_s) & (self.step_end_s <= end_s)
        firsts = self.firsts.between(start_s, end_s)
        single = np.ones(len(firsts), dtype=np.int64)
        together = 0 if bursts else int(self.step_bursts[steps].sum())
        return Weighted.of(
            np.concatenate([[0.0], self.step_gap_s[steps], firsts]),
            np.concatenate([[together], self.step_gaps[steps], single]),
        )

    def made(self, start_s: float = -np.inf, end_s: float = np.inf) -> int:
        """Tokens made in (start, end]."""
        steps = (self.step_end_s > start_s) & (self.step_end_s <= end_s)
        prompts = (self.prompt_end_s > start_s) & (self.prompt_end_s <= end_s)
        return int(self.step_tokens[steps].sum()) + int(prompts.sum())


def _given(run: RunFolder, clocks: SlotClocks, took_part: Ints) -> Ints:
    """Decode tokens made in every step: one a sequence, but where engines speculate."""
    b = run.columns("bursts")
    if len(b["step"]) == 0:
        return took_part
    given = took_part.copy()
    at = clocks.position(b["engine"], b["slot"], b["step"])
    given[at] = 0
    np.add.at(given, at, b["tokens"])
    return given


def prompt_tokens_made(stays: Stays, requests: Requests) -> Flags:
    """Which stays are prompt computations that made a token at their end."""
    generated = requests["generated_tokens"]
    decoded = np.bincount(
        stays.request[stays.decode],
        weights=stays.tokens[stays.decode].astype(np.float64),
        minlength=len(generated),
    ).astype(np.int64)
    candidate = ~stays.decode & ~stays.sent_back
    candidates = np.bincount(stays.request[candidate], minlength=len(generated))
    made = (generated - decoded)[stays.request]
    silent = candidates[stays.request] - made
    first_end = stays.end_s[stays.firsts()]
    by_decode = requests["first_token_s"][stays.request] > first_end
    order = stays.before(candidate)
    return np.asarray(candidate & np.where(by_decode, order >= silent, order < made))


def first_gaps(requests: Requests, stays: Stays, decode_first_s: Floats, made: Flags) -> FirstGaps:
    """Gap before the first token of each stay, without the requests' first tokens, from the ends
    of the decoding stays' first steps. No token is visible before `first_token_s`."""
    first_s, last_s = stays.end_s.copy(), stays.end_s
    first_s[stays.decode] = decode_first_s
    makes = made | stays.decode
    request, first_s, last_s = stays.request[makes], first_s[makes], last_s[makes]
    floor = requests["first_token_s"][request]
    follows = np.zeros(len(request), dtype=np.bool_)
    follows[1:] = request[1:] == request[:-1]
    before = np.full(len(request), np.nan)
    before[1:] = last_s[:-1]
    time = np.maximum(first_s, floor)[follows]
    return FirstGaps(time - np.maximum(before, floor)[follows], time, request[follows])


def cover(size: int, low: Ints, high: Ints) -> Ints:
    """How many of the ranges low … high (inclusive, empty when high < low) hold each index."""
    some = low <= high
    begin = np.bincount(low[some], minlength=size + 1)
    end = np.bincount(high[some] + 1, minlength=size + 1)
    return np.asarray(np.cumsum(begin - end)[:size], dtype=np.int64)
