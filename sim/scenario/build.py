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
from sim.engine.limits import RankLimits
from sim.engine.pacer import Pacer
from sim.engine.ports import Gauges, Services
from sim.engine.rank import Rank
from sim.engine.sampler import Sampler
from sim.kvcache.cache import KvCache
from sim.network.fabric import Fabric
from sim.network.topology import Topology
from sim.perf.epochs import Epochs
from sim.record.log import Log
from sim.rl.build import LoopServices, build_loop
from sim.rl.loop import Loop
from sim.rl.rollouts import Rollouts
from sim.rng import Draws
from sim.scenario.breakdown import Breakdown
from sim.scenario.drafting import Compiled, Lanes
from sim.scenario.planning import Plan, open_workload
from sim.scenario.pools import PoolPlan
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

    def loop_facts(self) -> dict[str, object] | None:
        """What a loop is like, and how many samples it began."""
        if self.loop is None or self.plan.loop is None:
            return None
        return self.plan.loop.facts() | {"generated": self.loop.rollouts.begun}


def build(plan: Plan, folder: Path | None, source: Source | None = None) -> Built:
    """Make everything that runs. Tables go to `folder`, or stay in memory. The `source` is the
    plan's own when left out."""
    s = plan.scenario.settings
    clock, breakdown = Clock(), Breakdown(from_samples=s.record.clock == "runs")
    speculation = any(p.drafting is not None for p in plan.pools)
    rl = plan.loop is not None
    log = Log(folder, {"steps": breakdown}, record=s.record, rl=rl, speculation=speculation)
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
        compiled, seed = Compiled(p), plan.scenario.settings.seed
        lanes = Lanes(p, seed)
        engines = []
        for i in range(len(p.tasks)):
            epochs = Epochs(compiled.timer(i), Draws(seed, "expert_load"), number)
            gauges = Gauges(memoryview(view.load[i :: len(p.devices)].data))
            engine = _engine(number, p, services, epochs, gauges, lanes, plan)
            breakdown.add(number, epochs, ranks, lanes.journal(engine))
            engines.append(engine)
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
    number: int,
    p: PoolPlan,
    services: Services,
    epochs: Epochs,
    gauges: Gauges,
    lanes: Lanes,
    plan: Plan,
) -> Engine:
    settings = p.settings.engine
    limits = RankLimits(
        max_num_seqs=settings.max_num_seqs,
        max_num_batched_tokens=settings.max_num_batched_tokens,
        context_tokens=p.context_tokens,
        block_tokens=settings.block_size,
        prefix_caching=p.caches_prefixes,
        lookahead_tokens=0 if p.drafting is None else p.drafting.most.tokens - 1,
    )
    timer = epochs.timer
    ranks = [
        Rank(
            index,
            limits=limits,
            groups=p.memory.groups,
            cache=KvCache(p.memory.units, settings.eviction.start()),
            line=settings.order.start(),
            preemption=settings.preemption,
            lanes=lanes.of_rank(timer.caps),
        )
        for index in range(p.spread.ranks)
    ]
    leap = plan.scenario.settings.leap
    engine = Engine(
        number,
        services=services,
        pacer=Pacer(timer, leap, epochs if timer.epoch_steps else None),
        ranks=ranks,
        batcher=settings.batcher,
        gauges=gauges,
    )
    lanes.adapt(engine, timer)
    return engine
