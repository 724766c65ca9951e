"""Engines that serve whole requests under a closed loop."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from sim.scenario.pools import PoolPlan
from sim.search.answer import Estimate, PoolUse, largest
from sim.search.design import Design, rules_of
from sim.search.point import Point
from sim.search.room import Room, room
from sim.search.schedule import Load
from sim.search.speculation import Drafted, drafted, read_draft
from sim.search.steady import Steady, steady


def aggregated(point: Point, design: Design) -> Estimate:
    """Clients are spread evenly over engines and ranks. Engines differ by one client at most."""
    pool, draft = design.plan.pools[0], read_draft(point)
    engines = len(pool.devices)
    fewer, more = divmod(point.concurrency, engines)
    kinds = {n: count for n, count in ((fewer + 1, more), (fewer, engines - more)) if n and count}
    most = -(-max(kinds) // pool.spread.ranks)
    speculated = None if draft is None else drafted(point, design, pool, draft, most)
    if speculated is None:
        space = room(pool, point.prompt_tokens, point.output_tokens)
        places = space.places
    else:
        pool, space, places = speculated.pool, speculated.space, speculated.places
    found = {n: _engine(point, design, pool, places, n, speculated) for n in kinds}
    clients = np.array([n * count for n, count in kinds.items()])
    share = clients / clients.sum()
    states = list(found.values())
    ttft = float(share @ [s.ttft_s for s in states])
    tpot = float(share @ [s.tpot_s for s in states])
    after = [np.nan_to_num(s.tpot_s) * (point.output_tokens - 1) for s in states]
    rounds = np.array([s.ttft_s for s in states]) + after
    breakdown = {k: float(share @ [s.causes[k] for s in states]) for k in states[0].causes}
    return Estimate(
        point=point,
        plan=design.plan,
        pools=(_use(pool, space, min(most, places), speculated),),
        ttft_s=ttft,
        tpot_s=tpot,
        requests_per_s=float((clients / rounds).sum()),
        concurrency=point.concurrency,
        bottleneck=largest(breakdown),
        breakdown=breakdown,
        limits=waits(pool, space, places, most),
        first_ttft_s=float(share @ [s.first_ttft_s for s in states]),
        speculation=None if speculated is None else speculated.answer,
    )


def _engine(
    point: Point,
    design: Design,
    pool: PoolPlan,
    places: int,
    clients: int,
    speculated: Drafted | None,
) -> Steady:
    ranks, isl, osl = pool.spread.ranks, point.prompt_tokens, point.output_tokens
    counts = [clients // ranks + (r < clients % ranks) for r in range(ranks)]
    if speculated is None:
        loads = [Load(n, isl, osl) for n in counts]
        return steady(design.timers[pool.name], loads, rules_of(pool, places))
    steps = speculated.steps(osl - 1)
    loads = [Load(n, isl, 1 + steps) for n in counts]
    rules = rules_of(pool, places, speculated.queries)
    each = (osl - 1) / steps if steps else 1.0
    state = steady(speculated.timer, loads, rules, growth=each)
    causes = {name: seconds / each for name, seconds in state.causes.items()}
    return replace(state, tpot_s=state.tpot_s / each, causes=causes)


def _use(pool: PoolPlan, space: Room, running: float, speculated: Drafted | None) -> PoolUse:
    spread = pool.spread
    gpus = spread.devices + (speculated.gpus if speculated else 0)
    return PoolUse(pool.name, len(pool.devices), gpus, spread.ranks, spread.text, space, running)


def waits(pool: PoolPlan, space: Room, places: int, wanted: int) -> tuple[str, ...]:
    """Why fewer sequences run on a rank than want to."""
    if wanted <= places:
        return ()
    many = f"{places:,} of {wanted:,} sequences run at once on a rank of pool '{pool.name}'"
    if places < space.places:
        return (f"{many}: their drafts fill engine.max_num_batched_tokens",)
    if space.max_num_seqs < space.kv_sequences:
        return (f"{many}: engine.max_num_seqs is {space.max_num_seqs:,}",)
    return (f"{many}: its KV pool holds no more of the mean length, and preempts beyond",)
