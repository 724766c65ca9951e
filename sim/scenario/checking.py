"""A scenario looked at without playing it: what was resolved, what fits, what is asked."""

from __future__ import annotations

from typing import Any

from sim import plugins
from sim.perf.speculation.last_stage import one_stage
from sim.perf.speculation.memory import draft_weight_bytes
from sim.scenario.planning import Plan, open_workload
from sim.scenario.pools import PoolPlan, longest_sequence
from sim.workload.describe import describe
from sim.workload.trace import Trace

Facts = dict[str, Any]


def check(plan: Plan) -> Facts:
    """Pools, memory, workload, machine, assumptions and warnings, ready for JSON. Reads or makes
    the workload; ScenarioError when that fails."""
    s = plan.scenario.settings
    source = open_workload(plan)
    asks = s.workload.asks(s.seed, plan.scenario.base) if s.workload else None
    return {
        "name": s.name,
        "description": s.description,
        "model": plan.pools[0].model.name,
        "deployment": plugins.name_of(s.deployment),
        "pools": {p.name: _pool(p) for p in plan.pools},
        "topology": _topology(plan),
        "workload": describe(source),
        "assumptions": plan.assumptions(),
        "loop": None if plan.loop is None else plan.loop.facts() | plan.loop.preview(),
        "warnings": warnings(plan, asks) if asks else [],
    }


def _pool(pool: PoolPlan) -> Facts:
    """One pool; bytes are of the fullest GPU, the KV pool is that of one rank."""
    memory, engine = pool.memory, pool.settings.engine
    blocks = memory.units // sum(g.units for g in memory.groups)
    return {
        "engines": len(pool.devices),
        "gpu": pool.gpu.name,
        "gpus_per_engine": pool.engine_gpus,
        "gpus": len(pool.devices) * pool.engine_gpus,
        "layout": pool.spread.text,
        "ranks": pool.spread.ranks,
        "stages": pool.spread.stages,
        "formats": {k: getattr(pool.formats, k).name for k in ("weights", "experts", "kv")},
        "context_tokens": pool.context_tokens,
        "speculation": _speculation(pool),
        "max_num_seqs": engine.max_num_seqs,
        "max_num_batched_tokens": engine.max_num_batched_tokens,
        "memory": {
            "gpu_bytes": memory.gpu_bytes,
            "gpu_memory_utilization": engine.gpu_memory_utilization,
            "weight_bytes": memory.weight_bytes,
            "activation_bytes": memory.activation_bytes,
            "reserve_bytes": memory.reserve_bytes,
            "kv_bytes": memory.kv_bytes,
            "kv_bytes_per_token": memory.kv_bytes_per_token,
            "kv_blocks": blocks,
            "kv_tokens": blocks * engine.block_size,
            "longest_sequence_tokens": longest_sequence(pool),
        },
    }


def _speculation(pool: PoolPlan) -> Facts | None:
    """Who drafts in a pool; None = nobody. Its weights are among the pool's where it has no GPUs of
    its own."""
    plan = pool.drafting
    if plan is None:
        return None
    work = plan.draft.drafting(pool.model, pool.formats)
    return {
        "draft": plugins.name_of(plan.draft),
        "draft_tokens": plan.most.steps,
        "verify_tokens": plan.most.tokens,
        "draft_length": plugins.name_of(plan.length),
        "weight_bytes": draft_weight_bytes(work, plan.spread or one_stage(pool.spread)),
        "gpus_per_engine": plan.gpus,
    }


def _topology(plan: Plan) -> Facts:
    topology = plan.topology
    kinds: dict[str, int] = {}
    for device in topology.devices:
        kinds[device.gpu] = kinds.get(device.gpu, 0) + 1
    return {
        "name": topology.name,
        "summary": topology.summary,
        "nodes": len({d.node for d in topology.devices}),
        "gpus": kinds,
        "gpus_used": plan.gpus,
        "gpus_idle": len(topology.devices) - plan.gpus,
        "links": len(topology.links),
        "fabric": plugins.name_of(plan.scenario.settings.fabric),
        "sources": dict(topology.sources),
    }


def warnings(plan: Plan, asks: Trace) -> list[str]:
    """What will surprise in the results, though it can be played."""
    said = []
    s = plan.scenario.settings
    decodes = getattr(s.deployment, "decode", None)
    whole = asks.prompt_tokens + asks.output_tokens
    for pool in plan.pools:
        longest = longest_sequence(pool)
        prefills_only = decodes is not None and pool.name != decodes
        tokens = asks.prompt_tokens if prefills_only else whole
        over = int((tokens > longest).sum())
        if over:
            why = "its context" if longest == pool.context_tokens else "what its KV pool holds"
            said.append(
                f"{over:,} of {len(asks):,} requests are longer than {longest:,} tokens, {why} in "
                f"pool '{pool.name}', and will be rejected"
            )
    if s.until_s is not None and s.asked.arrivals.uses_trace_times:
        late = int((asks.arrival_s > s.until_s).sum())
        if late:
            said.append(f"{late:,} of {len(asks):,} requests arrive after until_s = {s.until_s} s")
    return said
