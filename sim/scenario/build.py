"""From a plan to a cluster that is ready to run. The only place that knows every room."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from sim.clock import Clock
from sim.cluster.cluster import Cluster
from sim.cluster.pool import Pool
from sim.cluster.services import ClusterServices
from sim.cluster.view import View
from sim.engine.engine import Engine
from sim.engine.lane import Lane
from sim.engine.limits import RankLimits
from sim.engine.pacer import Pacer
from sim.engine.ports import Gauges, Services
from sim.engine.rank import Rank
from sim.engine.sampler import Sampler
from sim.kvcache.cache import KvCache
from sim.network.fabric import Fabric
from sim.network.topology import Topology
from sim.perf.epochs import Epochs
from sim.perf.step_timer import TableTimer
from sim.record.log import Log
from sim.rl.build import LoopServices, build_loop
from sim.rl.loop import Loop
from sim.rl.rollouts import Rollouts
from sim.rng import Draws
from sim.scenario.breakdown import Breakdown
from sim.scenario.planning import Plan, PoolPlan, open_workload
from sim.workload.request import Source


@dataclass(frozen=True, slots=True)
class Built:
    """A cluster ready to run."""

    plan: Plan
    clock: Clock
    log: Log
    cluster: Cluster
    fabric: Fabric
    pools: tuple[Pool, ...]
    source: Source
    loop: Loop | None = None


def build(plan: Plan, folder: Path | None, source: Source | None = None) -> Built:
    """Make everything that runs. Tables go to `folder`, or stay in memory. The `source` is the
    plan's own when left out."""
    s = plan.scenario.settings
    clock, breakdown = Clock(), Breakdown(from_samples=s.record.clock == "runs")
    log = Log(folder, {"steps": breakdown}, record=s.record, rl=plan.loop is not None)
    source = source or open_workload(plan)
    sampler = Sampler()
    pools, views = _pools(plan, Services(clock, log, sampler), breakdown)
    fabric = s.fabric.start(_FabricServices(clock, plan.topology, log))
    cluster = Cluster(
        clock=clock,
        log=log,
        source=source,
        sampler=sampler,
        admission=s.admission,
        desk=s.frontend.start(),
    )
    running = s.deployment.start(
        ClusterServices(
            clock=clock,
            log=log,
            fabric=fabric,
            topology=plan.topology,
            pools={p.name: p for p in pools},
            views=views,
            draws=lambda stream: Draws(s.seed, stream),
            ears=cluster,
        )
    )
    for pool in pools:
        for engine in pool.engines:
            engine.port = running
    cluster.open(running)
    loop = None
    if plan.loop is not None and isinstance(source, Rollouts):
        engines = [e for pool in pools for e in pool.engines]
        draws = partial(Draws, s.seed)
        services = LoopServices(clock, log, fabric, plan.topology, cluster, engines, draws)
        loop = build_loop(plan.loop, source, services)
        loop.open()
    return Built(plan, clock, log, cluster, fabric, pools, source, loop)


@dataclass(frozen=True, slots=True)
class _FabricServices:
    clock: Clock
    topology: Topology
    log: Log


def _pools(
    plan: Plan, services: Services, breakdown: Breakdown
) -> tuple[tuple[Pool, ...], dict[str, View]]:
    """Engines of all pools, and views over their seats: one a pool, and one over all."""
    seats = {p.name: len(p.devices) * p.spread.ranks for p in plan.pools}
    load = np.zeros(sum(seats.values()), dtype=np.int64)
    everyone = View(load)
    views, pools, first, number = {"*": everyone}, [], 0, 0
    for p in plan.pools:
        view, ranks = View(load[first : first + seats[p.name]]), p.spread.ranks
        timers: dict[int, TableTimer] = {}
        engines = []
        for i, task in enumerate(p.tasks):
            timer = timers.get(id(task)) or p.settings.timer.compile(task)
            timers[id(task)] = timer
            epochs = Epochs(timer, Draws(plan.scenario.settings.seed, "expert_load"), number)
            breakdown.add(number, epochs, ranks)
            gauges = Gauges(memoryview(view.load[i :: len(p.devices)].data))
            engines.append(
                _engine(number, p, services, epochs, gauges, plan.scenario.settings.leap)
            )
            number += 1
        first += seats[p.name]
        view.seat_engines(engines)
        everyone.seat_engines(engines)
        views[p.name] = view
        pools.append(
            Pool(p.name, p.model, p.gpu, p.spread, p.formats, p.memory, tuple(engines), p.devices)
        )
    return tuple(pools), views


def _engine(
    number: int, p: PoolPlan, services: Services, epochs: Epochs, gauges: Gauges, leap: bool
) -> Engine:
    settings = p.settings.engine
    limits = RankLimits(
        max_num_seqs=settings.max_num_seqs,
        max_num_batched_tokens=settings.max_num_batched_tokens,
        context_tokens=p.context_tokens,
        block_tokens=settings.block_size,
        prefix_caching=p.caches_prefixes,
    )
    slots, timer = p.spread.stages, epochs.timer
    ranks = [
        Rank(
            index,
            limits=limits,
            groups=p.memory.groups,
            cache=KvCache(p.memory.units, settings.eviction.start()),
            line=settings.order.start(),
            preemption=settings.preemption,
            lanes=[Lane(settings.block_size, p.memory.groups, timer.caps) for _ in range(slots)],
        )
        for index in range(p.spread.ranks)
    ]
    return Engine(
        number,
        services=services,
        pacer=Pacer(timer, leap, epochs if timer.epoch_steps else None),
        ranks=ranks,
        batcher=settings.batcher,
        gauges=gauges,
    )
