"""From settings to a cluster that is ready to run. The only place that knows every room."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from sim.catalog.gpu import Gpu, load_gpu
from sim.catalog.model import Model, load_model
from sim.clock import Clock
from sim.cluster.cluster import Cluster
from sim.cluster.pool import Pool
from sim.cluster.services import ClusterServices
from sim.cluster.view import View
from sim.engine.engine import Engine
from sim.engine.lane import Lane
from sim.engine.ports import Gauges, Services
from sim.engine.rank import Rank, RankLimits
from sim.engine.sampler import Sampler
from sim.errors import ScenarioError, suggest
from sim.kvcache.cache import KvCache
from sim.network.fabric import Fabric
from sim.network.topology import Topology, load_topology
from sim.perf.memory import Memory, fit
from sim.perf.spread import Spread
from sim.perf.step_timer import TableTimer
from sim.perf.task import Formats, PriceTask
from sim.record.log import Log
from sim.rng import Draws
from sim.scenario.breakdown import Breakdown
from sim.scenario.placing import Devices, place, shape_of, wires
from sim.scenario.scenario import Scenario
from sim.scenario.settings import PoolSettings, Settings
from sim.workload.request import Source


@dataclass(frozen=True, slots=True)
class PoolPlan:
    """A pool worked out: everything that does not need time to exist."""

    name: str
    settings: PoolSettings
    model: Model
    gpu: Gpu
    spread: Spread
    formats: Formats
    memory: Memory
    context_tokens: int
    devices: tuple[Devices, ...]
    tasks: tuple[PriceTask, ...]
    """What the timer prices, by engine; engines that lie alike share one."""


@dataclass(frozen=True, slots=True)
class Plan:
    """A scenario worked out and checked, without anything running."""

    scenario: Scenario
    topology: Topology
    pools: tuple[PoolPlan, ...]

    @property
    def gpus(self) -> int:
        """GPUs of the deployment."""
        return sum(len(p.devices) * p.spread.devices for p in self.pools)

    def assumptions(self) -> list[dict[str, str]]:
        """Guesses and extrapolations that the run leans on: what, value, source."""
        rows: list[dict[str, str]] = []
        for pool in self.pools:
            rows += pool.settings.timer.assumptions(pool.tasks[0])
            guesses = pool.gpu.assumptions.items()
            rows += [{"what": f"{pool.gpu.name} {k}", "value": "", "source": v} for k, v in guesses]
            reserve = {"what": "framework reserve", "value": f"{pool.memory.reserve_bytes:.3g} B"}
            rows.append(reserve | {"source": "assumed: CUDA context, buffers and graphs"})
        machine = self.topology.assumptions.items()
        rows += [{"what": f"topology {k}", "value": "", "source": v} for k, v in machine]
        return list({tuple(sorted(r.items())): r for r in rows}.values())


def plan(scenario: Scenario) -> Plan:
    """Work out layouts, memory, placement and wires; ScenarioError for what cannot be."""
    s = scenario.settings
    topology = load_topology(
        _path(s.topology.name, scenario.base),
        nodes=s.topology.nodes,
        oversubscription=s.topology.oversubscription,
    )
    model = load_model(_path(s.model, scenario.base))
    _check_pools(s)
    spreads = {name: pool.layout.plan(model) for name, pool in s.pools.items()}
    gpus = {name: _gpu(name, pool, topology) for name, pool in s.pools.items()}
    wanted = {n: (p.engines, spreads[n], gpus[n].name) for n, p in s.pools.items()}
    devices = place(topology, s.placement, wanted)
    pools = tuple(
        _pool_plan(n, p, model, gpus[n], spreads[n], devices[n], topology)
        for n, p in s.pools.items()
    )
    _check_formats(s, pools)
    return Plan(scenario, topology, pools)


def _path(name: str, base: Path) -> str:
    """A name as it is, or the file it stands for, looked up from here and from the scenario."""
    if "/" in name and not Path(name).exists() and (base / name).exists():
        return str(base / name)
    return name


def _check_pools(s: Settings) -> None:
    wanted = s.deployment.pools()
    for name in wanted or ():
        if name not in s.pools:
            raise ScenarioError(
                f"deployment: pool '{name}' is not among the pools{suggest(name, s.pools)}"
            )
    unused = [n for n in s.pools if wanted is not None and n not in wanted]
    if unused:
        raise ScenarioError(
            f"pools: '{unused[0]}' is not used by the deployment; remove it or name it there"
        )


def _check_formats(s: Settings, pools: tuple[PoolPlan, ...]) -> None:
    kinds = {p.formats.kv.name for p in pools}
    if s.deployment.pools() is not None and len(kinds) > 1:
        raise ScenarioError(
            f"precision.kv differs between the pools ({', '.join(sorted(kinds))}); a handoff does "
            "not convert the KV cache, so give both the same"
        )


def _gpu(name: str, pool: PoolSettings, topology: Topology) -> Gpu:
    kinds = list(dict.fromkeys(d.gpu for d in topology.devices))
    if pool.gpu is None:
        if len(kinds) > 1:
            raise ScenarioError(
                f"pools.{name}: topology '{topology.name}' has {' and '.join(kinds)}; "
                "write gpu: to say which"
            )
        return load_gpu(kinds[0])
    wanted = load_gpu(pool.gpu)
    if wanted.name not in kinds:
        raise ScenarioError(
            f"pools.{name}.gpu: topology '{topology.name}' has no {wanted.name}; "
            f"it has {', '.join(kinds)}"
        )
    return wanted


def _pool_plan(
    name: str,
    pool: PoolSettings,
    model: Model,
    gpu: Gpu,
    spread: Spread,
    devices: tuple[Devices, ...],
    topology: Topology,
) -> PoolPlan:
    engine, formats = pool.engine, pool.precision.formats(model)
    context = engine.max_model_len or model.max_context_tokens
    if context > model.max_context_tokens:
        raise ScenarioError(
            f"pools.{name}.engine.max_model_len: {context} is longer than the "
            f"{model.max_context_tokens} tokens of {model.name}; write at most that"
        )
    if engine.max_num_batched_tokens < engine.max_num_seqs:
        raise ScenarioError(
            f"pools.{name}.engine: max_num_batched_tokens {engine.max_num_batched_tokens} is below "
            f"max_num_seqs {engine.max_num_seqs}, so not all could decode; raise it"
        )
    memory = fit(
        model,
        spread,
        gpu,
        formats,
        block_tokens=engine.block_size,
        max_tokens=engine.max_num_batched_tokens,
        max_sampled=engine.max_num_seqs,
        utilization=engine.gpu_memory_utilization,
    )
    shapes: dict[tuple[int, ...], PriceTask] = {}
    tasks = []
    for mine in devices:
        shape = shape_of(topology, mine)
        if shape not in shapes:
            shapes[shape] = PriceTask(
                model=model,
                spread=spread,
                gpu=gpu,
                formats=formats,
                wires=wires(topology, spread, mine),
                max_rank_tokens=engine.max_num_batched_tokens,
                max_sampled=engine.max_num_batched_tokens,
            )
        tasks.append(shapes[shape])
    return PoolPlan(name, pool, model, gpu, spread, formats, memory, context, devices, tuple(tasks))


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


def build(plan: Plan, folder: Path | None) -> Built:
    """Make everything that runs. Tables go to `folder`, or stay in memory."""
    scenario, s = plan.scenario, plan.scenario.settings
    clock, breakdown = Clock(), Breakdown()
    log = Log(folder, {"steps": breakdown})
    source = s.workload.open(s.seed, scenario.base)
    sampler = Sampler()
    pools, views = _pools(plan, Services(clock, log, sampler), breakdown)
    fabric = s.fabric.start(_FabricServices(clock, plan.topology, log))
    cluster = Cluster(clock=clock, log=log, source=source, sampler=sampler, admission=s.admission)
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
    return Built(plan, clock, log, cluster, fabric, pools, source)


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
            breakdown.add(number, timer, ranks)
            gauges = Gauges(memoryview(view.load[i * ranks : (i + 1) * ranks].data))
            engines.append(_engine(number, p, services, timer, gauges, plan.scenario.settings.leap))
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
    number: int, p: PoolPlan, services: Services, timer: TableTimer, gauges: Gauges, leap: bool
) -> Engine:
    settings = p.settings.engine
    limits = RankLimits(
        max_num_seqs=settings.max_num_seqs,
        max_num_batched_tokens=settings.max_num_batched_tokens,
        context_tokens=p.context_tokens,
        block_tokens=settings.block_size,
        prefix_caching=settings.enable_prefix_caching and p.memory.groups[0].cap_tokens is None,
    )
    slots = p.spread.stages
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
        timer=timer,
        ranks=ranks,
        batcher=settings.batcher,
        gauges=gauges,
        leap=leap,
    )
