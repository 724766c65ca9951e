"""Speculation in the pool that decodes: its draft made ready, and what it did in an answer.

A verify step takes the place of a decode step. An answer of n tokens takes ⌈(n − 1) / τ⌉ of them
(the last is cut to the end), each with its drafts in the token budget and room for them in the KV
cache. Schedules and stations count steps as they count tokens without speculation; per-token times
are those of steps ÷ tokens that a step gave."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from math import ceil
from typing import Any

import numpy as np

from sim.decoding import decode
from sim.perf.drafts import AUTO_UP_TO, Draft, Speculating
from sim.perf.price_list import Shapes
from sim.perf.speculation.choice import Speculation, chosen
from sim.perf.speculation.last_stage import one_stage
from sim.perf.speculation.laws import extrapolated
from sim.perf.speculation.memory import with_draft
from sim.perf.speculation.price import SpeculativeTimer
from sim.perf.step_timer import TableTimer
from sim.perf.task import PriceTask
from sim.plugins import name_of
from sim.scenario.pools import PoolPlan
from sim.scenario.speculating import own_task
from sim.search.design import Design
from sim.search.point import Point
from sim.search.pricing import decode_shapes
from sim.search.room import Room, room


@dataclass(frozen=True, slots=True)
class Speculated:
    """What speculation did."""

    draft: str
    draft_length: int
    auto: bool
    """Whether the length was chosen for its speed-up."""
    verify_tokens: int
    acceptance_length: float
    """Mean tokens per verify step, the target's own included."""
    speedup_over_plain: float
    """Plain decode step ÷ (verify step with its drafts ÷ acceptance length), same batch."""
    step_s: float
    """Drafting and verifying, at that batch."""
    draft_s: float
    """Of it, drafting on GPUs."""
    batch: int
    """Sequences of a rank in a pass at which those are."""
    assumptions: tuple[dict[str, str], ...] = ()
    without: dict[str, float] | None = None
    """The same point without speculation."""

    def plain(self) -> dict[str, Any]:
        """For JSON."""
        out = {
            name: getattr(self, name)
            for name in (
                "draft", "draft_length", "auto", "verify_tokens", "acceptance_length",
                "speedup_over_plain", "step_s", "draft_s", "batch",
            )
        }  # fmt: skip
        return out | ({} if self.without is None else {"without": self.without})

    def cells(self, rate: Callable[[float], str]) -> list[tuple[str, str, str]]:
        """For a panel: what it did, and the same without it."""
        if not self.draft_length:
            return [("speculation", self.draft, "")]
        length = f"{self.draft} of {self.draft_length}"
        length += " (quickest up to 8)" if self.auto else ""
        gain = (
            f"{self.acceptance_length:.3g} tokens a step; decode steps alone × "
            f"{self.speedup_over_plain:.3g} at {self.batch:,} sequences"
        )
        rates = self.without or {}
        speed, user = (rates.get(k, 0.0) for k in SHOWN)
        without = (f"{rate(speed)} tokens/s/GPU", f"{rate(user)} tokens/s/user")
        return [("speculation", length, gain), ("  without", *without)]


SHOWN = ("output_tokens_per_s_per_gpu", "tokens_per_s_per_user")
"""Rates of a panel."""
NOTHING = Speculated("none", 0, False, 1, 1.0, 1.0, 0.0, 0.0, 0)
"""Nobody drafts."""


@dataclass(frozen=True, slots=True)
class Drafted:
    """A pool that speculates."""

    pool: PoolPlan
    """With the draft in its memory."""
    made: Speculation
    space: Room
    places: int
    """Sequences that may run at once on a rank: all their drafts fit in the token budget."""
    gpus: int
    """GPUs of an engine's draft alone."""
    answer: Speculated

    @property
    def timer(self) -> SpeculativeTimer:
        """Prices its steps."""
        return self.made.timer

    @property
    def queries(self) -> int:
        """Tokens of a sequence in a verify step."""
        return self.timer.tree.tokens

    def steps(self, tokens: int) -> int:
        """Verify steps that give so many tokens."""
        return ceil(tokens / self.made.length)


def read_draft(point: Point) -> Draft | None:
    """The draft of a point; None where nobody drafts. ScenarioError for what is none."""
    if point.speculation is None:
        return None
    made = decode(Speculating, {"speculation": point.speculation}, "estimate").speculation
    return None if name_of(made) == "none" else made


def drafted(point: Point, design: Design, pool: PoolPlan, draft: Draft, clients: int) -> Drafted:
    """A pool with its draft, whose ranks would like to run `clients` sequences each."""
    task = _own_task(design, pool, draft)
    work = draft.drafting(pool.model, pool.formats)
    if not draft.apart:
        spread = one_stage(pool.spread) if task is None else task.spread
        block = pool.settings.engine.block_size
        pool = replace(pool, memory=with_draft(pool.memory, work, spread, block))
    plain = design.timers[pool.name]
    shortest = draft.tree(1 if draft.draft_tokens == "auto" else draft.draft_tokens)
    first = room(pool, point.prompt_tokens, point.output_tokens, shortest.tokens - 1)
    running = min(clients, _places(pool, first, shortest.tokens))
    batch = -(-running // pool.spread.stages)
    at = _at(point, pool, plain, batch)
    made = chosen(draft, pool.settings.timer, pool.tasks[0], plain, at, task)
    tree = made.timer.tree
    space = room(pool, point.prompt_tokens, point.output_tokens, tree.tokens - 1)
    looked_at = AUTO_UP_TO if draft.draft_tokens == "auto" else tree.steps
    beyond = extrapolated(draft.acceptance, looked_at)
    answer = Speculated(
        draft=name_of(draft),
        draft_length=tree.steps,
        auto=draft.draft_tokens == "auto",
        verify_tokens=tree.tokens,
        acceptance_length=made.length,
        speedup_over_plain=made.speedup(plain, at),
        step_s=float(made.timer.seconds(at)[0]),
        draft_s=float(made.timer.draft_s(at)[0]),
        batch=batch,
        assumptions=(*_host_rows(made.timer), *draft.assumptions(), *beyond),
    )
    gpus = task.spread.devices if task is not None and draft.apart else 0
    return Drafted(pool, made, space, _places(pool, space, tree.tokens), gpus, answer)


def _places(pool: PoolPlan, space: Room, tokens: int) -> int:
    return max(1, min(space.places, pool.settings.engine.max_num_batched_tokens // tokens))


def _at(point: Point, pool: PoolPlan, timer: TableTimer, batch: int) -> Shapes:
    """One step of `batch` sequences a rank, of mean context."""
    context = np.array([point.prompt_tokens + point.output_tokens / 2])
    return decode_shapes(timer, np.array([batch]), context, pool.spread.ranks)


def _host_rows(timer: SpeculativeTimer) -> list[dict[str, str]]:
    """Host time of speculation."""
    host = timer.engine_host
    value = f"{host.verify_s} s a step + {host.draft_s} s a pass, {host.tree_s} s a tree"
    return [{"what": "host time of speculation", "value": value, "source": host.source}]


def _own_task(design: Design, pool: PoolPlan, draft: Draft) -> PriceTask | None:
    """What is priced for a draft that is spread in its own way; None where it lies as the
    target."""
    topology, spread = design.plan.topology, pool.spread
    last = (spread.stages - 1) * spread.stage_devices
    near = pool.devices[0][last : last + spread.stage_devices]
    if draft.apart:
        near = tuple(d.index for d in topology.devices if d.gpu == pool.gpu.name)
    return own_task(draft, pool.settings, pool.tasks[0], topology, near)
