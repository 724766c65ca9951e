"""A scenario worked out and checked: layouts, memory, placement and wires, before time exists."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from sim.catalog.gpu import Gpu, load_gpu
from sim.catalog.model import Model, MoeFfn, load_model
from sim.cluster.deployments.disaggregated import Disaggregated
from sim.engine.speculations.fixed import Fixed
from sim.errors import ScenarioError
from sim.kvcache.evictions.lru import Lru
from sim.network.topology import Topology, load_topology
from sim.perf.memory import Memory, fit
from sim.perf.routings.uniform import Uniform
from sim.perf.spread import Spread
from sim.perf.task import Formats, PriceTask
from sim.plugins import name_of
from sim.rl.build import open_rollouts
from sim.rl.planning import RlPlan, place_trainer, plan_loop
from sim.rl.rewards import Scorers, Served
from sim.rl.settings import RlSettings
from sim.rl.weights import Generating
from sim.scenario.pairing import check_pairing, check_pools
from sim.scenario.placing import Devices, place, wires
from sim.scenario.scenario import Scenario
from sim.scenario.scorers import place_scorers, pool_of
from sim.scenario.settings import PoolSettings, Settings
from sim.scenario.speculating import (
    DraftPlan,
    apart_spread,
    draft_params,
    drafts,
    memory_with,
    plan_draft,
)
from sim.workload.request import Source

DRAFT = "'s draft"
"""Behind the name of a pool: the GPUs of its draft alone."""


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
    drafting: DraftPlan | None = None
    """Who drafts; None = nobody."""

    def draft_devices(self, engine: int) -> Devices:
        """GPUs of an engine's draft alone."""
        apart = () if self.drafting is None else self.drafting.devices
        return apart[engine] if apart else ()

    @property
    def engine_gpus(self) -> int:
        """GPUs of one engine, its draft's own included."""
        return self.spread.devices + (0 if self.drafting is None else self.drafting.gpus)

    @property
    def caches_prefixes(self) -> bool:
        """Whether its engines keep prefix blocks: asked for, and some layer has no window."""
        whole = self.memory.groups[0].cap_tokens is None
        return self.settings.engine.enable_prefix_caching and whole


@dataclass(frozen=True, slots=True)
class Plan:
    """A scenario worked out and checked, without anything running."""

    scenario: Scenario
    topology: Topology
    pools: tuple[PoolPlan, ...]
    loop: RlPlan | None = None
    """Its loop of rollouts and training."""

    @property
    def gpus(self) -> int:
        """GPUs of the deployment, those of a trainer of its own among them."""
        serving = sum(len(p.devices) * p.engine_gpus for p in self.pools)
        return serving + (self.loop.gpus if self.loop else 0)

    def assumptions(self) -> list[dict[str, str]]:
        """Guesses and extrapolations that the run leans on: what, value, source."""
        rows: list[dict[str, str]] = []
        for pool in self.pools:
            rows += pool.settings.timer.assumptions(pool.tasks[0])
            rows += pool.settings.overlap.assumptions(pool.tasks[0])
            if pool.drafting is not None:
                rows += pool.drafting.assumptions(pool.settings)
            guesses = pool.gpu.assumptions.items()
            rows += [{"what": f"{pool.gpu.name} {k}", "value": "", "source": v} for k, v in guesses]
            if pool.settings.engine.enable_prefix_caching and not pool.caches_prefixes:
                none = "assumed: every layer has a window, and prefixes of windows are not kept"
                rows.append({"what": "prefix caching", "value": "off", "source": none})
            reserve = {"what": "framework reserve", "value": f"{pool.memory.reserve_bytes:.3g} B"}
            rows.append(reserve | {"source": "assumed: CUDA context, buffers and graphs"})
        rows += self.scenario.settings.sparsity.assumptions()
        if self.loop is not None:
            rows += self.loop.assumptions()
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
    model = s.sparsity.apply(load_model(_path(s.model, scenario.base)))
    _check_model(model)
    check_pools(s)
    check_pairing(s)
    _check_drafting(s)
    spreads = {}
    for name, pool in s.pools.items():
        with _in(f"pools.{name}"):
            spreads[name] = pool.layout.plan(model)
    gpus = {n: _gpu(f"pools.{n}", pool.gpu, topology) for n, pool in s.pools.items()}
    wanted = {n: (p.engines, spreads[n], gpus[n].name) for n, p in s.pools.items()}
    for name, pool in s.pools.items():
        with _in(f"pools.{name}"):
            apart = apart_spread(pool, model)
        if apart is not None:
            wanted[f"{name}{DRAFT}"] = (pool.engines, apart, gpus[name].name)
    devices = place(topology, s.placement, wanted)
    pools = []
    for name, pool in s.pools.items():
        with _in(f"pools.{name}"):
            places = (devices[name], devices.get(f"{name}{DRAFT}", ()))
            pools.append(_pool_plan(name, pool, model, gpus[name], spreads[name], places, topology))
    _check_formats(s, tuple(pools))
    loop = None if s.rl is None else _loop(s, s.rl, topology, tuple(pools), scenario.base)
    return Plan(scenario, topology, tuple(pools), loop)


def _loop(
    s: Settings, rl: RlSettings, topology: Topology, pools: tuple[PoolPlan, ...], base: Path
) -> RlPlan:
    """The loop over the pools, its trainer on GPUs of its own or on theirs."""
    model, own = pools[0].model, None
    if rl.trainer.placement == "apart":
        gpu = _gpu("rl.trainer", rl.trainer.gpu, topology)
        taken = [d for p in pools for engine in p.devices for d in engine]
        own = (gpu, place_trainer(rl, topology, s.placement, taken, gpu.name))
    used = [d for p in pools for engine in p.devices for d in engine] + list(own[1] if own else ())
    scorers = (
        None if rl.reward.served is None else _scorers(s, rl.reward.served, topology, used, base)
    )
    made = tuple(
        Generating(
            name=p.name,
            gpu=p.gpu,
            spread=p.spread,
            memory=p.memory,
            devices=p.devices,
            utilization=p.settings.engine.gpu_memory_utilization,
            block_tokens=p.settings.engine.block_size if p.caches_prefixes else 0,
            longest_tokens=longest_sequence(p),
            draft_params=draft_params(p.settings, model, p.formats),
        )
        for p in pools
    )
    return plan_loop(rl, model, topology, made, own, s.seed, base, scorers)


def _scorers(
    s: Settings, asked: Served, topology: Topology, used: Sequence[int], base: Path
) -> Scorers:
    """Engines of a model that scores, behind the pools and the trainer."""
    where = "rl.reward.model"
    with _in(where):
        model, gpu = load_model(_path(asked.model, base)), _gpu(where, asked.gpu, topology)
        spread = asked.layout.plan(model)
        devices = place_scorers(asked, spread, gpu, topology, s.placement, used)
        made = _pool_plan(where, pool_of(asked), model, gpu, spread, (devices, ()), topology)
    kept = int(made.memory.kv_bytes / made.memory.kv_bytes_per_token)
    return Scorers(made.tasks, asked.timer, devices, longest_sequence(made), kept)


def longest_sequence(pool: PoolPlan) -> int:
    """Most tokens of a sequence that has a rank's KV pool to itself, up to the context; with room
    for its drafts."""
    block, memory = pool.settings.engine.block_size, pool.memory
    ahead = 0 if pool.drafting is None else pool.drafting.most.tokens - 1

    def fits(blocks: int) -> bool:
        tokens = min(blocks * block + ahead, max(pool.context_tokens, blocks * block))
        kept = (min(tokens, g.cap_tokens or tokens) * g.units for g in memory.groups)
        return sum(-(-k // block) for k in kept) <= memory.units

    low, high = 0, -(-pool.context_tokens // block)
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if fits(middle) else (low, middle - 1)
    return min(low * block, pool.context_tokens)


def open_workload(plan: Plan) -> Source:
    """The clients of a plan. Prefix blocks are kept as whole KV blocks, so the trace's block size
    must be a multiple of the engines': ScenarioError when it is not."""
    s = plan.scenario.settings
    if plan.loop is not None:
        return open_rollouts(plan.loop)
    source = s.asked.open(s.seed, plan.scenario.base)
    for pool in plan.pools:
        block = pool.settings.engine.block_size
        if pool.caches_prefixes and source.block_tokens % block:
            fits = [n for n in (8, 16, 32, 64, 128) if source.block_tokens % n == 0]
            raise ScenarioError(
                f"pools.{pool.name}.engine.block_size: {block} does not divide the "
                f"{source.block_tokens} tokens of the workload's prefix blocks; write "
                f"{', '.join(map(str, fits))}, or enable_prefix_caching: false"
            )
    return source


@contextmanager
def _in(where: str) -> Iterator[None]:
    """Say where a mistake is."""
    try:
        yield
    except ScenarioError as mistake:
        raise ScenarioError(f"{where}: {mistake}") from mistake


def _path(name: str, base: Path) -> str:
    """A name as it is, or the file it stands for, looked up from here and from the scenario."""
    if "/" in name and not Path(name).exists() and (base / name).exists():
        return str(base / name)
    return name


def _check_model(model: Model) -> None:
    """Refuse what no step is priced for."""
    odd = [x for x in model.layers if x.token_share != 1 or x.kv_share != 1 or x.shared_weights]
    if model.streams != 1 or odd:
        raise ScenarioError(
            f"model: {model.name} runs parallel streams or layers for a share of the tokens, which "
            "are counted but not simulated; use the model without that preset"
        )


def _check_drafting(s: Settings) -> None:
    """Drafts are of those who decode."""
    d = s.deployment
    if isinstance(d, Disaggregated) and drafts(s.pools[d.prefill]):
        raise ScenarioError(
            f"pools.{d.prefill}.speculation: {name_of(s.pools[d.prefill].speculation)} has no "
            f"effect where prompts alone are computed; write it under pools.{d.decode}"
        )


def _check_formats(s: Settings, pools: tuple[PoolPlan, ...]) -> None:
    sizes = {p.settings.engine.block_size for p in pools}
    if s.deployment.pools() is not None and len(sizes) > 1:
        raise ScenarioError(
            f"engine.block_size differs between the pools ({', '.join(map(str, sorted(sizes)))}); "
            "a handoff does not convert blocks, so give both the same"
        )
    kinds = {p.formats.kv.name for p in pools}
    if s.deployment.pools() is not None and len(kinds) > 1:
        raise ScenarioError(
            f"precision.kv differs between the pools ({', '.join(sorted(kinds))}); a handoff does "
            "not convert the KV cache, so give both the same"
        )


def _check_effect(pool: PoolSettings, model: Model) -> None:
    """Refuse settings that would do nothing."""
    dense = not any(isinstance(x.ffn, MoeFfn) for x in model.layer_counts)
    routing = getattr(pool.timer, "routing", Uniform())
    if dense and routing != Uniform():
        raise ScenarioError(
            f"timer.{name_of(pool.timer)}.routing: {name_of(routing)} has no effect, {model.name} "
            "has no experts; leave it out"
        )
    if pool.precision.experts and dense:
        raise ScenarioError(
            f"precision.experts: {pool.precision.experts} has no effect, {model.name} has no "
            "experts; leave it out"
        )
    if not drafts(pool) and pool.draft_length != Fixed():
        raise ScenarioError(
            f"draft_length: {name_of(pool.draft_length)} has no effect without speculation; "
            "leave it out, or say who drafts"
        )
    if not pool.engine.enable_prefix_caching and pool.engine.eviction != Lru():
        raise ScenarioError(
            f"engine.eviction: {name_of(pool.engine.eviction)} has no effect with "
            "enable_prefix_caching: false; leave one of them out"
        )


def _gpu(where: str, named: str | None, topology: Topology) -> Gpu:
    kinds = list(dict.fromkeys(d.gpu for d in topology.devices))
    if named is None:
        if len(kinds) > 1:
            raise ScenarioError(
                f"{where}: topology '{topology.name}' has {' and '.join(kinds)}; "
                "write gpu: to say which"
            )
        return load_gpu(kinds[0])
    wanted = load_gpu(named)
    if wanted.name not in kinds:
        raise ScenarioError(
            f"{where}.gpu: topology '{topology.name}' has no {wanted.name}; "
            f"it has {', '.join(kinds)}"
        )
    return wanted


def _pool_plan(
    name: str,
    pool: PoolSettings,
    model: Model,
    gpu: Gpu,
    spread: Spread,
    places: tuple[tuple[Devices, ...], tuple[Devices, ...]],
    topology: Topology,
) -> PoolPlan:
    engine, formats, (devices, _) = pool.engine, pool.precision.formats(model), places
    _check_effect(pool, model)
    context = engine.max_model_len or model.max_context_tokens
    if context > model.max_context_tokens:
        raise ScenarioError(
            f"engine.max_model_len: {context} is longer than the "
            f"{model.max_context_tokens} tokens of {model.name}; write at most that"
        )
    if engine.max_num_batched_tokens < engine.max_num_seqs:
        raise ScenarioError(
            f"engine: max_num_batched_tokens {engine.max_num_batched_tokens} is below "
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
    shapes: dict[tuple[tuple[int, int], ...], PriceTask] = {}
    tasks = []
    for mine in devices:
        shape = topology.pattern(mine)
        if shape not in shapes:
            shapes[shape] = PriceTask(
                model=model,
                spread=spread,
                gpu=gpu,
                formats=formats,
                wires=wires(topology, spread, mine, pool.timer.all_reduce()),
                max_rank_tokens=engine.max_num_batched_tokens,
                max_sampled=engine.max_num_batched_tokens,
                overlap=pool.overlap,
            )
        tasks.append(shapes[shape])
    made = PoolPlan(name, pool, model, gpu, spread, formats, memory, context, devices, tuple(tasks))
    if not drafts(pool):
        return made
    drafting = plan_draft(pool, model, gpu, spread, made.tasks, places, topology)
    memory = memory_with(drafting.draft, memory, pool, made.tasks[0])
    return replace(made, memory=memory, drafting=drafting)
