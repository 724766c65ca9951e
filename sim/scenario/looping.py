"""A scenario's loop worked out: its pools as the loop sees them, the GPUs of trainer and scorer."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from sim.catalog.model import load_model
from sim.network.topology import Topology
from sim.rl.planning import RlPlan, place_trainer, plan_loop
from sim.rl.rewards import Scorers, Served
from sim.rl.settings import RlSettings
from sim.rl.weights import Generating
from sim.scenario.pools import PoolPlan, find, gpu_of, longest_sequence, plan_pool, within
from sim.scenario.scorers import place_scorers, pool_of
from sim.scenario.settings import Settings
from sim.scenario.speculating import draft_params


def loop_of(
    s: Settings, rl: RlSettings, topology: Topology, pools: tuple[PoolPlan, ...], base: Path
) -> RlPlan:
    """The loop over the pools, its trainer on GPUs of its own or on theirs."""
    model, own = pools[0].model, None
    taken = [d for p in pools for engine in p.all_devices for d in engine]
    if rl.trainer.placement == "apart":
        gpu = gpu_of("rl.trainer", rl.trainer.gpu, topology)
        own = (gpu, place_trainer(rl, topology, s.placement, taken, gpu.name))
    used = [*taken, *(own[1] if own else ())]
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
    with within(where):
        model, gpu = load_model(find(asked.model, base)), gpu_of(where, asked.gpu, topology)
        spread = asked.layout.plan(model)
        devices = place_scorers(asked, spread, gpu, topology, s.placement, used)
        made = plan_pool(where, pool_of(asked), model, gpu, spread, (devices, ()), topology)
    kept = int(made.memory.kv_bytes / made.memory.kv_bytes_per_token)
    return Scorers(made.tasks, asked.timer, devices, longest_sequence(made), kept)
