"""Prefill and decode in pools of their own, rate-matched where their sizes are left open."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from sim.errors import ScenarioError
from sim.scenario.pools import PoolPlan
from sim.search.answer import Estimate, PoolUse, largest
from sim.search.design import Design, rules_of
from sim.search.handoff import Handoff, handoff
from sim.search.point import Point
from sim.search.pricing import AnyTimer, decode_shapes
from sim.search.rate_matching import Match, matched
from sim.search.room import Room, room
from sim.search.speculation import Drafted, Speculated, drafted, read_draft
from sim.search.stations import (
    Balance,
    Decode,
    Prefill,
    at_rate,
    balance,
    decode_station,
    prefill_station,
    sides,
)
from sim.search.steady import CAUSES


def disaggregated(point: Point, design: Design) -> Estimate:
    """Both pools under a closed loop."""
    src, dst = _pools(design)
    isl, osl, draft = point.prompt_tokens, point.output_tokens, read_draft(point)
    ranks = dst.spread.ranks
    per_engine = -(-point.concurrency // ranks)
    if draft is None:
        serving = _Serving(dst, room(dst, isl, osl), design.timers[dst.name], osl - 1)
    else:
        serving = _speculating(drafted(point, design, dst, draft, per_engine), osl - 1)
    rooms = (room(src, isl, 0), serving.space)
    prefill = prefill_station(
        design.timers[src.name], isl, rules_of(src, rooms[0].places), src.spread.ranks
    )
    decode = decode_station(serving.timer, isl, osl, min(per_engine, serving.places), ranks)
    decode = replace(decode, tokens=serving.steps)
    found = _match(point, src, serving, prefill, decode)
    engines = (found.prefill_engines, found.decode_engines)
    moved = handoff(design.plan.topology, src, dst, isl)
    if point.split is None or point.split.decode_engines is None:
        state = at_rate(prefill, decode, found)
        held = found.decode_engines * ranks * state.decodes
        clients = round(held + state.requests_per_s * (state.ttft_s + moved.seconds))
    else:
        clients = point.concurrency
        state = balance(prefill, decode, engines, clients, moved.seconds)
    return _estimate(point, design, serving, rooms, found, moved, clients, state)


@dataclass(frozen=True, slots=True)
class _Serving:
    """The decode pool, with or without speculation."""

    pool: PoolPlan
    space: Room
    timer: AnyTimer
    steps: int
    """That an answer takes there."""
    fewer: int | None = None
    """Sequences that may run at once where that is fewer than room has."""
    draft_gpus: int = 0
    speculated: Speculated | None = None

    @property
    def places(self) -> int:
        """Sequences that may run at once on a rank."""
        return self.space.places if self.fewer is None else self.fewer

    @property
    def gpus(self) -> int:
        """Of an engine."""
        return self.pool.spread.devices + self.draft_gpus


def _speculating(made: Drafted, tokens: int) -> _Serving:
    steps = made.steps(tokens)
    return _Serving(made.pool, made.space, made.timer, steps, made.places, made.gpus, made.answer)


def _pools(design: Design) -> tuple[PoolPlan, PoolPlan]:
    """(prefill, decode), as the deployment names them."""
    deployment: Any = design.plan.scenario.settings.deployment
    by_name = {p.name: p for p in design.plan.pools}
    if deployment.stream:
        raise ScenarioError(
            "deployment.disaggregated.stream is not estimated; leave it out, or play it with "
            "`sim run`"
        )
    return by_name[deployment.prefill], by_name[deployment.decode]


def _match(point: Point, src: PoolPlan, dst: _Serving, prefill: Prefill, decode: Decode) -> Match:
    split = point.split
    n_p, n_d = (split.prefill_engines, split.decode_engines) if split else (None, None)
    each = point.concurrency if n_d is None else -(-point.concurrency // n_d)
    full = sides(prefill, decode, each, (src.spread.devices, dst.gpus))
    return matched(*full, n_p, n_d)


def _estimate(
    point: Point,
    design: Design,
    serving: _Serving,
    rooms: tuple[Room, Room],
    found: Match,
    moved: Handoff,
    clients: int,
    state: Balance,
) -> Estimate:
    (src, _), deployment = _pools(design), design.plan.scenario.settings.deployment
    more = point.output_tokens - 1
    at_decode = getattr(deployment, "first_token", "prefill") == "decode"
    between = state.wait_s + moved.seconds
    rest = 0.0 if at_decode else between
    breakdown = _breakdown(point, serving, state)
    queue = state.step_s / 2 / more
    parts = breakdown | {"handoff": rest / more, "mid_step": queue}
    waiting = {"prefill": "prefill", "decode": "decode", "clients": found.limits}[state.limits]
    bottleneck = "prefill pool" if waiting == "prefill" else f"decode pool: {largest(breakdown)}"
    n_p, n_d = found.prefill_engines, found.decode_engines
    busy = state.requests_per_s * state.ttft_s / n_p / src.spread.ranks
    return Estimate(
        point=point,
        plan=design.plan,
        pools=(
            _use(src, n_p, rooms[0], busy, src.spread.devices),
            _use(serving.pool, n_d, rooms[1], state.decodes, serving.gpus),
        ),
        ttft_s=state.ttft_s + (between if at_decode else 0.0),
        tpot_s=sum(parts.values()),
        requests_per_s=state.requests_per_s,
        concurrency=clients,
        bottleneck=bottleneck,
        breakdown=parts,
        limits=_limits(point, serving, state),
        handoff_s=moved.seconds,
        handoff_bytes=moved.nbytes,
        match=found,
        speculation=serving.speculated,
    )


def _breakdown(point: Point, serving: _Serving, state: Balance) -> dict[str, float]:
    """Seconds of a step at the decode engines by cause, for each token that it gives."""
    timer, ranks = serving.timer, serving.pool.spread.ranks
    slots, each = timer.stages, (point.output_tokens - 1) / serving.steps
    batch = np.array([max(1, round(state.decodes / slots))])
    context = np.array([point.prompt_tokens + point.output_tokens / 2])
    causes = timer.breakdown(decode_shapes(timer, batch, context, ranks))
    names = [*CAUSES, *(["draft"] if "draft_s" in causes else [])]
    parts = {name: float(causes[f"{name}_s"].mean()) for name in names}
    whole = sum(parts.values())
    if slots == 1:
        return {k: v * state.step_s / whole / each for k, v in parts.items()}
    return parts | {"pipeline": max(0.0, state.step_s - whole)}


def _use(pool: PoolPlan, engines: int, space: Room, running: float, gpus: int) -> PoolUse:
    spread = pool.spread
    return PoolUse(pool.name, engines, gpus, spread.ranks, spread.text, space, running)


def _limits(point: Point, serving: _Serving, state: Balance) -> tuple[str, ...]:
    pool, space = serving.pool, serving.space
    if state.limits == "prefill":
        return ("the prefill pool is full: prompts wait in its line",)
    free = point.split is not None and point.split.decode_engines is None
    wanted = -(-point.concurrency // pool.spread.ranks) if free else 0
    if state.limits == "clients" and wanted <= serving.places:
        return ()
    why = "engine.max_num_seqs" if space.max_num_seqs <= space.kv_sequences else "its KV pool"
    if serving.places < space.places:
        why = "drafts in engine.max_num_batched_tokens"
    rest = "fewer decode than asked for" if free else "prefilled ones wait for room"
    return (
        f"{serving.places:,} sequences run at once on a rank of pool '{pool.name}', limited by "
        f"{why}; {rest}",
    )
