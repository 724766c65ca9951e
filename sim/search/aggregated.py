"""Engines that serve whole requests under a closed loop."""

from __future__ import annotations

import numpy as np

from sim.scenario.planning import PoolPlan
from sim.search.answer import Estimate, PoolUse, largest
from sim.search.design import Design, rules_of
from sim.search.point import Point
from sim.search.room import Room, room
from sim.search.schedule import Load
from sim.search.steady import Steady, steady


def aggregated(point: Point, design: Design) -> Estimate:
    """Clients are spread evenly over engines and ranks. Engines differ by one client at most."""
    pool = design.plan.pools[0]
    space = room(pool, point.prompt_tokens, point.output_tokens)
    engines = len(pool.devices)
    fewer, more = divmod(point.concurrency, engines)
    kinds = {n: count for n, count in ((fewer + 1, more), (fewer, engines - more)) if n and count}
    found = {n: _engine(point, design, pool, space, n) for n in kinds}
    clients = np.array([n * count for n, count in kinds.items()])
    share = clients / clients.sum()
    states = list(found.values())
    ttft = float(share @ [s.ttft_s for s in states])
    tpot = float(share @ [s.tpot_s for s in states])
    after = [np.nan_to_num(s.tpot_s) * (point.output_tokens - 1) for s in states]
    rounds = np.array([s.ttft_s for s in states]) + after
    most = -(-max(kinds) // pool.spread.ranks)
    breakdown = {k: float(share @ [s.causes[k] for s in states]) for k in states[0].causes}
    return Estimate(
        point=point,
        plan=design.plan,
        pools=(_use(pool, space, min(most, space.places)),),
        ttft_s=ttft,
        tpot_s=tpot,
        requests_per_s=float((clients / rounds).sum()),
        concurrency=point.concurrency,
        bottleneck=largest(breakdown),
        breakdown=breakdown,
        limits=waits(pool, space, most),
        first_ttft_s=float(share @ [s.first_ttft_s for s in states]),
    )


def _engine(point: Point, design: Design, pool: PoolPlan, space: Room, clients: int) -> Steady:
    ranks = pool.spread.ranks
    counts = [clients // ranks + (r < clients % ranks) for r in range(ranks)]
    loads = [Load(n, point.prompt_tokens, point.output_tokens) for n in counts]
    return steady(design.timers[pool.name], loads, rules_of(pool, space.places))


def _use(pool: PoolPlan, space: Room, running: float) -> PoolUse:
    spread = pool.spread
    return PoolUse(
        pool.name, len(pool.devices), spread.devices, spread.ranks, spread.text, space, running
    )


def waits(pool: PoolPlan, space: Room, wanted: int) -> tuple[str, ...]:
    """Why fewer sequences run on a rank than want to."""
    if wanted <= space.places:
        return ()
    many = f"{space.places:,} of {wanted:,} sequences run at once on a rank of pool '{pool.name}'"
    if space.max_num_seqs < space.kv_sequences:
        return (f"{many}: engine.max_num_seqs is {space.max_num_seqs:,}",)
    return (f"{many}: its KV pool holds no more of the mean length, and preempts beyond",)
