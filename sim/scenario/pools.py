"""A pool worked out: layout, memory, devices, wires, prices and drafts, before time exists."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from sim.catalog.gpu import Gpu, load_gpu
from sim.catalog.model import Model, MoeFfn
from sim.engine.speculations.fixed import Fixed
from sim.errors import ScenarioError
from sim.kvcache.evictions.lru import Lru
from sim.network.topology import Topology
from sim.perf.memory import Memory, fit
from sim.perf.routings.uniform import Uniform
from sim.perf.spread import Spread
from sim.perf.task import Formats, PriceTask
from sim.plugins import name_of
from sim.scenario.placing import Devices, wires
from sim.scenario.settings import PoolSettings
from sim.scenario.speculating import DraftPlan, drafts, memory_with, plan_draft


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
    def all_devices(self) -> tuple[Devices, ...]:
        """Of its engines, and of drafts with GPUs of their own."""
        return self.devices + (() if self.drafting is None else self.drafting.devices)

    @property
    def caches_prefixes(self) -> bool:
        """Whether its engines keep prefix blocks: asked for, and some layer has no window."""
        whole = self.memory.groups[0].cap_tokens is None
        return self.settings.engine.enable_prefix_caching and whole


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


def plan_pool(
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


def gpu_of(where: str, named: str | None, topology: Topology) -> Gpu:
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


@contextmanager
def within(where: str) -> Iterator[None]:
    """Say where a mistake is."""
    try:
        yield
    except ScenarioError as mistake:
        raise ScenarioError(f"{where}: {mistake}") from mistake


def find(name: str, base: Path) -> str:
    """A name as it is, or the file it stands for, looked up from here and from the scenario."""
    if "/" in name and not Path(name).exists() and (base / name).exists():
        return str(base / name)
    return name
