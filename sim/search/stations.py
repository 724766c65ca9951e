"""Prefill and decode engines as two stations of a closed network, joined by the handoff.

Of c clients N_p are at a prefill engine, N_t on the wire, N_w wait for room and N_d decode:

    N_p + N_t + N_w + N_d = c,   X = n_p · x_p(N_p / n_p) = n_d · x_d(N_d / n_d),   N_t = X · t

with x_p(k) the prompts/s of an engine at which k prompts are (from `sim.search.steady`, answers of
one token), x_d(b) = b / ((n − 1 + ½) · step(b)) the answers/s of one that decodes b sequences (KV
arrives in mid-step and waits half a step on average), and t the handoff alone. Whichever station
is full keeps the others waiting: at the prefill pool in its line (TTFT), at the decode pool with
the KV held where it was made (between first and second token). TTFT = N_p / X.

Prompts of equal length that were computed in one pass are handed over together, answered in step
and so asked for together again: where the prefill pool is not full, they still come by as many as a
pass holds, spread over the decode engines.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from sim.perf.price_list import Array
from sim.perf.step_timer import TableTimer
from sim.search.pricing import AnyTimer, decode_seconds
from sim.search.rate_matching import Match, Side
from sim.search.schedule import Load, Rules
from sim.search.steady import stages_of, steady

FULL = 0.97
"""Share of the highest rate at which a prefill engine counts as full."""
MID_STEP = 0.5
"""Steps that KV waits on average: it arrives at any time of a step."""


@dataclass(frozen=True, slots=True)
class Prefill:
    """Prompts/s of one engine by the prompts that are there: 1, 2, …"""

    rates: Array
    in_pass: int
    """Prompts that a pass of the engine holds."""

    @property
    def full(self) -> int:
        """Prompts with which it reaches its rate."""
        return int(np.argmax(self.rates >= FULL * self.rates.max())) + 1

    @property
    def most(self) -> float:
        """Its highest rate."""
        return float(self.rates.max())

    @property
    def rate(self) -> float:
        """Its rate when full."""
        return float(self.rates[self.full - 1])

    def seconds(self, prompts: int) -> float:
        """From asking to first token of so many prompts that come at once, on average."""
        return prompts / float(self.rates[prompts - 1])

    def prompts(self, rate: float, together: int = 1) -> float:
        """How many prompts are there at a rate, when they come by so many."""
        alone = rate * self.seconds(together)
        if rate <= self.rates[together - 1]:
            return alone
        counts = np.arange(1, len(self.rates) + 1, dtype=np.float64)
        rising = np.maximum.accumulate(self.rates)
        return max(alone, float(np.interp(rate, rising, counts)))


def prefill_station(timer: TableTimer, tokens: int, rules: Rules, ranks: int) -> Prefill:
    """One prefill engine, up to twice as many prompts as a pass of all its ranks holds."""
    most = ranks * rules.slots * (2 * -(-rules.budget_tokens // tokens) + 1)
    most = min(most, ranks * rules.places)
    counts = sorted({*range(1, min(most, 9)), *np.geomspace(1, most, 12).astype(int).tolist()})
    rates = []
    for k in counts:
        loads = [Load(k // ranks + (r < k % ranks), tokens, 1) for r in range(ranks)]
        rates.append(k / steady(timer, loads, rules).ttft_s)
    every = np.arange(1, counts[-1] + 1, dtype=np.float64)
    in_pass = max(1, ranks * (rules.budget_tokens // tokens))
    return Prefill(np.interp(every, counts, rates), in_pass)


@dataclass(frozen=True, slots=True)
class Decode:
    """One decode engine by the sequences of its fullest rank: 1, 2, …"""

    step_s: Array
    """From one token of a sequence to its next."""
    ranks: int
    tokens: int
    """That a sequence decodes there."""

    @property
    def rates(self) -> Array:
        """Answers/s of the engine."""
        batch = self.ranks * np.arange(1, len(self.step_s) + 1)
        rates: Array = batch / ((self.tokens + MID_STEP) * self.step_s)
        return rates

    def step_at(self, sequences: float) -> float:
        """Seconds of a step with so many sequences on a rank."""
        counts = np.arange(1, len(self.step_s) + 1, dtype=np.float64)
        return float(np.interp(sequences, counts, self.step_s))


def decode_station(
    timer: AnyTimer, prompt_tokens: int, output_tokens: int, most: int, ranks: int
) -> Decode:
    """One decode engine with up to `most` sequences on a rank, of the mean context."""
    slots = timer.stages
    on_rank = np.arange(1, most + 1)
    batch = -(-on_rank // slots)
    context = np.full(most, prompt_tokens + output_tokens / 2)
    stages = np.array([decode_seconds(t, batch, context, ranks) for t in stages_of(timer)])
    passes = np.minimum(on_rank, slots)
    step = np.maximum(stages.sum(axis=0), passes * stages.max(axis=0))
    return Decode(step, ranks, output_tokens - 1)


@dataclass(frozen=True, slots=True)
class Balance:
    """The network at rest."""

    requests_per_s: float
    ttft_s: float
    wait_s: float
    """Of prefilled KV for room at the decode engines."""
    step_s: float
    decodes: float
    """Sequences on a rank of a decode engine."""
    limits: str
    """`prefill`, `decode` or `clients`."""


def balance(
    prefill: Prefill, decode: Decode, engines: tuple[int, int], clients: int, handoff_s: float
) -> Balance:
    """The closed network with so many engines on each side."""
    n_p, n_d = engines
    together = max(1, min(prefill.in_pass // n_d, clients // n_p, len(prefill.rates)))
    rates = n_d * decode.rates
    ceiling = n_p * prefill.most
    reached = np.maximum.accumulate(rates)
    held = np.arange(1, len(rates) + 1) * n_d * decode.ranks
    there = np.array([n_p * prefill.prompts(min(x, ceiling) / n_p, together) for x in reached])
    total = there + reached * handoff_s + held
    feasible = reached <= ceiling
    free = total[feasible]
    if len(free) and clients <= free[-1]:
        share = float(np.interp(clients, [0.0, *free], [0.0, *rates[feasible]]))
        on_rank = float(np.interp(clients, [0.0, *free], np.arange(len(free) + 1)))
        ttft = n_p * prefill.prompts(share / n_p, together) / share
        step = decode.step_at(max(on_rank, 1.0))
        return Balance(share, ttft, 0.0, step, on_rank, "clients")
    if feasible.all():
        x = float(rates[-1])
        ttft = n_p * prefill.prompts(x / n_p, together) / x
        wait = max(0.0, (clients - float(total[-1])) / x)
        return Balance(x, ttft, wait, float(decode.step_s[-1]), float(len(rates)), "decode")
    first = int(np.argmin(feasible))
    low = (0.0 if first == 0 else float(reached[first - 1]), float(reached[first]))
    on_rank = float(np.interp(ceiling, low, (first, first + 1)))
    decoding = on_rank * n_d * decode.ranks
    ttft = (clients - decoding - ceiling * handoff_s) / ceiling
    step = decode.step_at(max(on_rank, 1.0))
    return Balance(ceiling, max(ttft, prefill.seconds(together)), 0.0, step, on_rank, "prefill")


def at_rate(prefill: Prefill, decode: Decode, found: Match) -> Balance:
    """Matched pools at the rate of the slower one, with no more clients than that takes."""
    rate = found.requests_per_s
    each = rate / found.prefill_engines
    counts = np.arange(1, len(decode.step_s) + 1, dtype=np.float64)
    rising = np.maximum.accumulate(decode.rates)
    on_rank = float(np.interp(rate / found.decode_engines, [0.0, *rising], [0.0, *counts]))
    ttft = min(prefill.prompts(each), float(prefill.full)) / each
    return Balance(rate, ttft, 0.0, decode.step_at(max(on_rank, 1.0)), on_rank, "clients")


def sides(
    prefill: Prefill, decode: Decode, clients: int, gpus: tuple[int, int]
) -> tuple[Side, Side]:
    """Full engines of both kinds; the decode engine has `clients` sequences."""
    on_rank = min(-(-clients // decode.ranks), len(decode.step_s))
    batch = min(clients, on_rank * decode.ranks)
    rate = batch / ((decode.tokens + MID_STEP) * float(decode.step_s[on_rank - 1]))
    return Side(prefill.rate, gpus[0]), Side(rate, gpus[1])
