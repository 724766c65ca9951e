"""Gaps between tokens where a run kept no clock of single steps: from the bounds of its runs.

A row of `steps` has the same members throughout, so it says how many tokens were made in it and how
long its steps took together. They count as equally long: of a row of n steps in d seconds, all gaps
are d/n, except those before its first step, which reach back to the end of the row before. Sums and
means are those of the true gaps; a quantile may lie off by what steps of one row differ in (the
growth of their contexts).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from sim.measure.gaps import FirstGaps, Tokens, cover, first_gaps, prompt_tokens_made
from sim.measure.latency import Requests
from sim.measure.ledger import Floats, Ints, Ledger
from sim.measure.quantiles import Weighted
from sim.measure.stays import Stays
from sim.record.run_folder import RunFolder


class TokenTimes(Protocol):
    """When the tokens of a run were made."""

    def gaps(self, start_s: float = ..., end_s: float = ..., *, bursts: bool = ...) -> Weighted:
        """Gaps before the tokens made in (start, end]; with `bursts` before those alone that did
        not come together with another of their sequence."""

    def made(self, start_s: float = ..., end_s: float = ...) -> int:
        """Tokens made in (start, end]."""


@dataclass(frozen=True, slots=True)
class Rows:
    """Bounds of the rows of a ledger, which may be forgotten."""

    n: Ints
    start_s: Floats
    end_s: Floats
    accepted: Ints
    """Drafts accepted in all steps of the row: tokens that came together with another."""

    @classmethod
    def of(cls, ledger: Ledger) -> Rows:
        """Those of a ledger."""
        return cls(ledger.n, ledger.start_s, ledger.end_s, ledger.accepted)

    @property
    def step_s(self) -> Floats:
        """Seconds of one step of each row."""
        return np.asarray((self.end_s - self.start_s) / self.n)

    def ended_by(self, time_s: float) -> Ints:
        """How many steps of each row had ended at `time_s`."""
        if time_s in (np.inf, -np.inf):
            return self.n if time_s > 0 else np.zeros_like(self.n)
        into, step = time_s - self.start_s, self.step_s
        steps = np.divide(into, step, out=np.sign(into) * self.n, where=step > 0)
        ended = np.clip(np.floor(steps), 0, self.n).astype(np.int64)
        return np.where(self.end_s <= time_s, self.n, ended)


@dataclass(frozen=True, slots=True)
class RunTokens:
    """`TokenTimes` from rows of steps; arrays have one entry per row of the ledger."""

    rows: Rows
    members: Ints
    """Sequences that decode in the row."""
    going_on: Ints
    """Members that made a token in the row before."""
    before_s: Floats
    """Gap before the tokens of those in the row's first step."""
    prompt_end_s: Floats
    """Times of the tokens made by prompt computations."""
    firsts: FirstGaps

    @classmethod
    def of(cls, rows: Rows, stays: Stays, requests: Requests) -> RunTokens:
        """Count the tokens of a run."""
        decode, size = stays.decode, len(rows.n)
        low, high, step_s = stays.low[decode], stays.high[decode], rows.step_s
        before = step_s.copy()
        before[1:] += rows.start_s[1:] - rows.end_s[:-1]
        made = prompt_tokens_made(stays, requests)
        firsts = first_gaps(requests, stays, rows.start_s[low] + step_s[low], made)
        return cls(
            rows, cover(size, low, high), cover(size, low + 1, high), before,
            stays.end_s[made], firsts,
        )  # fmt: skip

    def gaps(
        self, start_s: float = -np.inf, end_s: float = np.inf, *, bursts: bool = False
    ) -> Weighted:
        """Gaps before the tokens made in (start, end]; see `Tokens.gaps`."""
        begun, ended = self.rows.ended_by(start_s), self.rows.ended_by(end_s)
        together = 0 if bursts else self._together(ended - begun)
        first = (begun == 0) & (ended > 0)
        firsts = self.firsts.between(start_s, end_s)
        single = np.ones(len(firsts), dtype=np.int64)
        return Weighted.of(
            np.concatenate([[0.0], self.before_s[first], self.rows.step_s, firsts]),
            np.concatenate(
                [
                    [together],
                    self.going_on[first],
                    self.members * (ended - begun - first),
                    single,
                ]
            ),
        )

    def _together(self, steps: Ints) -> int:
        """Accepted drafts in so many steps of each row."""
        return int((self.rows.accepted * steps // self.rows.n).sum())

    def made(self, start_s: float = -np.inf, end_s: float = np.inf) -> int:
        """Tokens made in (start, end]."""
        steps = self.rows.ended_by(end_s) - self.rows.ended_by(start_s)
        prompts = (self.prompt_end_s > start_s) & (self.prompt_end_s <= end_s)
        return int((self.members * steps).sum()) + self._together(steps) + int(prompts.sum())


def read_tokens(run: RunFolder, rows: Rows, stays: Stays, requests: Requests) -> TokenTimes:
    """The tokens of a run, as exactly as it was recorded."""
    if recorded(run).get("clock") == "runs":
        return RunTokens.of(rows, stays, requests)
    return Tokens.read(run, stays, requests)


def recorded(run: RunFolder) -> dict[str, object]:
    """How much of the run was written down (`sim.record.settings.Record`)."""
    told: dict[str, object] = run.facts.get("record") or {}
    return told
