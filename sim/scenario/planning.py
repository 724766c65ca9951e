"""A scenario worked out and checked: layouts, memory, placement and wires, before time exists."""

from __future__ import annotations

from dataclasses import dataclass

from sim.catalog.model import Model, load_model
from sim.cluster.deployments.disaggregated import Disaggregated
from sim.errors import ScenarioError
from sim.network.topology import Topology, load_topology
from sim.plugins import name_of
from sim.rl.build import open_rollouts
from sim.rl.planning import RlPlan
from sim.scenario.looping import loop_of
from sim.scenario.pairing import check_pairing, check_pools
from sim.scenario.placing import place
from sim.scenario.pools import PoolPlan, find, gpu_of, plan_pool, within
from sim.scenario.scenario import Scenario
from sim.scenario.settings import Settings
from sim.scenario.speculating import apart_spread, drafts
from sim.workload.request import Source

DRAFT = "'s draft"
"""Behind the name of a pool: the GPUs of its draft alone."""


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
        find(s.topology.name, scenario.base),
        nodes=s.topology.nodes,
        oversubscription=s.topology.oversubscription,
    )
    model = s.sparsity.apply(load_model(find(s.model, scenario.base)))
    _check_model(model)
    check_pools(s)
    check_pairing(s)
    _check_drafting(s)
    spreads = {}
    for name, pool in s.pools.items():
        with within(f"pools.{name}"):
            spreads[name] = pool.layout.plan(model)
    gpus = {n: gpu_of(f"pools.{n}", pool.gpu, topology) for n, pool in s.pools.items()}
    wanted = {n: (p.engines, spreads[n], gpus[n].name) for n, p in s.pools.items()}
    for name, pool in s.pools.items():
        with within(f"pools.{name}"):
            apart = apart_spread(pool, model)
        if apart is not None:
            wanted[f"{name}{DRAFT}"] = (pool.engines, apart, gpus[name].name)
    devices = place(topology, s.placement, wanted)
    pools = []
    for name, pool in s.pools.items():
        with within(f"pools.{name}"):
            places = (devices[name], devices.get(f"{name}{DRAFT}", ()))
            pools.append(plan_pool(name, pool, model, gpus[name], spreads[name], places, topology))
    _check_formats(s, tuple(pools))
    loop = None if s.rl is None else loop_of(s, s.rl, topology, tuple(pools), scenario.base)
    return Plan(scenario, topology, tuple(pools), loop)


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
