"""Who computes what in which pass, for a closed loop on one rank, before any pass has a price.

Clients that ask again the moment they are answered, and so at the end of a pass, make a schedule
that does not depend on how long passes take: every pass holds all sequences that decode and gives
the rest of the token budget to prompts, in order of asking. So the schedule is worked out over
whole passes, and all of them are priced at once.

The rules are those of `engine/batchers/chunked_prefill.py` (decodes ride along) and
`engine/batchers/prefill_first.py` (a pass either prefills or decodes). In a pipeline of S slots
pass k belongs to slot k mod S, and a sequence stays in the slot of its prompt's last chunk.

A *tick* is a pass in which sequences decode; where they ride along, every pass is one.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from heapq import heappop, heappush

import numpy as np
from numpy.typing import NDArray

from sim.errors import ScenarioError

Ints = NDArray[np.int64]

NOT_YET = -1
MOST_PASSES = 2**22
MOST_CHUNKS = 2**21
"""Of a schedule: a few seconds, and about 2 GB when it is priced."""
TOO_LONG = (
    "so many passes are not worked out: write a shorter --isl or --osl, a lower --concurrency or "
    "a higher --max-num-batched-tokens"
)


@dataclass(frozen=True, slots=True)
class Load:
    """A closed loop of equal requests on one rank."""

    clients: int
    prompt_tokens: int
    output_tokens: int
    """At least 1; the first comes from the pass that completes the prompt."""


@dataclass(frozen=True, slots=True)
class Rules:
    """What one rank may do in a pass."""

    budget_tokens: int
    """`max_num_batched_tokens`."""
    places: int
    """Sequences that may run at once."""
    mixed: bool = True
    """Decodes ride along with prompts."""
    slots: int = 1
    """Passes in flight."""
    decode_tokens: int = 1
    """Tokens of the budget that a decoding sequence takes: with speculation its drafts too."""


@dataclass(frozen=True, slots=True)
class Schedule:
    """Passes by number. Of requests, in order of asking, those whose prompt was completed; of
    chunks, all."""

    load: Load
    rules: Rules
    passes: int
    asks: Ints
    """Pass at whose end a request came; −1 = at the start."""
    first: Ints
    """Pass that completes its prompt and makes its first token."""
    decode_from: Ints
    """Tick of its second token; every `slots` ticks another one follows."""
    chunk_pass: Ints
    chunk_tokens: Ints
    chunk_offset: Ints
    """Tokens of the prompt that earlier chunks have computed."""
    pass_of_tick: Ints

    @property
    def last(self) -> Ints:
        """Pass of each request's last token; `passes` where it was not reached."""
        more = self.load.output_tokens - 1
        if more == 0:
            return self.first
        ticks = self.decode_from + (more - 1) * self.rules.slots
        reached = np.minimum(ticks, len(self.pass_of_tick) - 1)
        return np.where(ticks == reached, self.pass_of_tick[reached], self.passes)


def play_passes(load: Load, rules: Rules, rounds: int, passes: int = 0) -> Schedule:
    """The schedule until `rounds` requests per client have ended, and so many passes are over. All
    clients ask at the start. Raises ScenarioError where that takes too long."""
    line = _Line(load, rules)
    while line.ended < rounds * load.clients or line.at < passes:
        line.run_pass()
        if line.at > MOST_PASSES or len(line.chunks) > MOST_CHUNKS:
            raise ScenarioError(TOO_LONG)
    return line.schedule()


@dataclass(eq=False, slots=True)
class _Line:
    """The loop over passes; those in which nobody comes, ends or prefills are skipped."""

    load: Load
    rules: Rules
    at: int = 0
    """The next pass, and the next tick."""
    tick: int = 0
    ended: int = 0
    running: int = 0
    waiting: deque[int] = field(default_factory=deque)
    begun: int | None = None
    """Whose prompt is begun and not done."""
    done_tokens: int = 0
    """Of its prompt."""
    decoding: list[int] = field(default_factory=list)
    """Sequences by slot."""
    leaving: list[tuple[int, int]] = field(default_factory=list)
    """Heap: (tick from which the place is free, slot)."""
    asks: list[int] = field(default_factory=list)
    first: list[int] = field(default_factory=list)
    decode_from: list[int] = field(default_factory=list)
    chunks: list[tuple[int, int, int]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.decoding = [0] * self.rules.slots
        for _ in range(self.load.clients):
            self._ask(NOT_YET)

    def _ask(self, when: int) -> None:
        self.waiting.append(len(self.asks))
        self.asks.append(when)

    def run_pass(self) -> None:
        """Free those who have ended, let prompts in, and go to the next pass that differs."""
        slots = self.rules.slots
        while self.leaving and self.leaving[0][0] <= self.tick:
            _, slot = heappop(self.leaving)
            self.decoding[slot] -= self.load.output_tokens > 1
            self.running -= 1
            self.ended += 1
            self._ask(self.at - slots)
        prefills = self._prefill(self.at % slots)
        alike = not prefills and not (self.waiting and slots > 1)
        passes = max(1, self.leaving[0][0] - self.tick) if alike else 1
        self.at += passes
        if self.rules.mixed or not prefills:
            self.tick += passes

    def _places(self, slot: int) -> int:
        """As `engine/rank.py`: each of several slots gets an equal share."""
        free, slots = self.rules.places - self.running, self.rules.slots
        if slots > 1:
            share = -(-(self.running + len(self.waiting)) // slots)
            free = min(free, share - self.decoding[slot])
        return free

    def _prefill(self, slot: int) -> bool:
        """Hand out the token budget; whether some prompt got of it."""
        mixed, whole = self.rules.mixed, self.load.prompt_tokens
        budget = self.rules.budget_tokens - (self._decode_tokens(slot) if mixed else 0)
        given = False
        if self.begun is not None and budget > 0:
            given, budget = True, self._chunk(self.begun, slot, budget)
            if not mixed:
                return True
        places = self._places(slot)
        while self.waiting and budget > 0 and places > 0:
            if not mixed and given and whole > budget:
                break
            given, places = True, places - 1
            self.running += 1
            budget = self._chunk(self.waiting.popleft(), slot, budget)
        return given

    def _decode_tokens(self, slot: int) -> int:
        return self.decoding[slot] * self.rules.decode_tokens

    def _chunk(self, number: int, slot: int, budget: int) -> int:
        """Compute tokens of a prompt; what is left of the budget."""
        offset = self.done_tokens
        tokens = min(budget, self.load.prompt_tokens - offset)
        self.chunks.append((self.at, tokens, offset))
        if offset + tokens < self.load.prompt_tokens:
            self.begun, self.done_tokens = number, offset + tokens
        else:
            self.begun, self.done_tokens = None, 0
            self._join(slot)
        return budget - tokens

    def _join(self, slot: int) -> None:
        """A prompt is complete: the sequence decodes from the slot's next tick on."""
        slots, more = self.rules.slots, self.load.output_tokens - 1
        begin = self.tick + slots if self.rules.mixed else self.tick
        self.first.append(self.at)
        self.decode_from.append(begin)
        self.decoding[slot] += more > 0
        heappush(self.leaving, (begin + more * slots, slot))

    def schedule(self) -> Schedule:
        """What has come of it."""
        chunks = np.array(self.chunks, dtype=np.int64).reshape(-1, 3)
        ticks: Ints = np.arange(self.at)
        if not self.rules.mixed:
            ticks = np.delete(ticks, np.unique(chunks[:, 0]))
        return Schedule(
            load=self.load,
            rules=self.rules,
            passes=self.at,
            asks=np.array(self.asks[: len(self.first)], dtype=np.int64),
            first=np.array(self.first, dtype=np.int64),
            decode_from=np.array(self.decode_from, dtype=np.int64),
            chunk_pass=chunks[:, 0],
            chunk_tokens=chunks[:, 1],
            chunk_offset=chunks[:, 2],
            pass_of_tick=ticks,
        )
