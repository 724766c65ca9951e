"""Speculation in a pool's engines, worked out before time exists: what drafts, where, how long, and
what it takes of memory and of the machine."""

from __future__ import annotations

from dataclasses import dataclass, replace

from sim.catalog.gpu import Gpu
from sim.catalog.model import Model
from sim.engine.speculations import DraftLength
from sim.engine.speculations.fixed import Fixed
from sim.engine.speculations.quickest import Quickest
from sim.errors import ScenarioError
from sim.network.topology import Topology
from sim.perf.drafts import AUTO_UP_TO, Draft
from sim.perf.layouts.single import Single
from sim.perf.memory import Memory, fit
from sim.perf.speculation.acceptance import Tree
from sim.perf.speculation.host import speculation_host
from sim.perf.speculation.last_stage import one_stage
from sim.perf.speculation.laws import extrapolated, is_frozen
from sim.perf.speculation.memory import draft_weight_bytes, with_draft
from sim.perf.spread import Spread
from sim.perf.task import Formats, PriceTask
from sim.plugins import name_of
from sim.scenario.placing import Devices, wires
from sim.scenario.settings import PoolSettings


@dataclass(frozen=True, slots=True)
class DraftPlan:
    """The draft of a pool."""

    draft: Draft
    length: DraftLength
    trees: tuple[Tree, ...]
    """By number of drafts, from 0 to the most."""
    spread: Spread | None
    """How it lies, where not as the target."""
    devices: tuple[Devices, ...]
    """GPUs of its own, by engine; empty where it has none."""
    tasks: tuple[PriceTask | None, ...]
    """What is priced for it, by engine of the pool; None = as the target lies."""

    @property
    def most(self) -> Tree:
        """With the longest draft."""
        return self.trees[-1]

    @property
    def gpus(self) -> int:
        """GPUs of its own of one engine."""
        return len(self.devices[0]) if self.devices else 0

    def assumptions(self, pool: PoolSettings) -> list[dict[str, str]]:
        """Figures that it leans on."""
        host = speculation_host(getattr(pool.timer, "engine_profile", None))
        value = f"{host.verify_s} s a step + {host.draft_s} s a pass, {host.tree_s} s a tree"
        row = {"what": "host time of speculation", "value": value, "source": host.source}
        beyond = extrapolated(self.draft.acceptance, self.most.steps)
        return [row, *self.draft.assumptions(), *beyond]


def drafts(pool: PoolSettings) -> bool:
    """Whether a pool speculates."""
    return name_of(pool.speculation) != "none"


def own_spread(draft: Draft, model: Model, formats: Formats) -> Spread | None:
    """How a draft lies that does not lie as its target; ScenarioError for what cannot be."""
    work = draft.drafting(model, formats)
    if draft.layout is None or work.model is None:
        return None
    spread = draft.layout.plan(work.model)
    if spread.stages > 1 or spread.ranks > 1:
        raise ScenarioError(
            f"speculation.draft_model.layout: {spread.text} has stages or ranks, and a draft is "
            "one rank on one stage; write single or tensor with tp alone"
        )
    return spread


def draft_params(pool: PoolSettings, model: Model, formats: Formats) -> float:
    """Parameters that a draft adds to what is sent to engines; 0 where nothing drafts, or nothing
    that is fitted to its target."""
    work = pool.speculation.drafting(model, formats)
    if work.formats is None or is_frozen(pool.speculation.acceptance):
        return 0.0
    return draft_weight_bytes(work, Single().plan(model)) / work.formats.weights.bytes_per_element


def apart_spread(pool: PoolSettings, model: Model) -> Spread | None:
    """How a draft with GPUs of its own lies; None where it has none."""
    if not pool.speculation.apart:
        return None
    _check_ranks(pool.speculation, pool.layout.plan(model))
    return own_spread(pool.speculation, model, pool.precision.formats(model))


def _check_ranks(draft: Draft, target: Spread) -> None:
    if draft.apart and target.ranks > 1:
        raise ScenarioError(
            f"speculation.{name_of(draft)}.apart: the engine has {target.ranks} ranks, each with a "
            "draft to itself; leave it out, or write a layout with one rank"
        )


def own_task(
    draft: Draft, pool: PoolSettings, target: PriceTask, topology: Topology, near: Devices
) -> PriceTask | None:
    """What is priced for a draft on the first of some GPUs; None where it lies as the target."""
    _check_ranks(draft, target.spread)
    spread = own_spread(draft, target.model, target.formats)
    work = draft.drafting(target.model, target.formats)
    if spread is None or work.model is None or work.formats is None:
        return None
    if spread.devices > len(near):
        raise ScenarioError(
            f"speculation.draft_model.layout: {spread.text} needs {spread.devices} GPUs and there "
            f"are {len(near)}; write a smaller tp, or apart: true and more nodes"
        )
    if draft.apart:
        engine = pool.engine
        fit(
            work.model, spread, target.gpu, work.formats, block_tokens=engine.block_size,
            max_tokens=engine.max_num_batched_tokens, max_sampled=engine.max_num_seqs,
            utilization=engine.gpu_memory_utilization,
        )  # fmt: skip
    lines = wires(topology, spread, near[: spread.devices], pool.timer.all_reduce())
    return replace(target, model=work.model, spread=spread, wires=lines)


def plan_draft(
    pool: PoolSettings,
    model: Model,
    gpu: Gpu,
    target: Spread,
    tasks: tuple[PriceTask, ...],
    places: tuple[tuple[Devices, ...], tuple[Devices, ...]],
    topology: Topology,
) -> DraftPlan:
    """The draft of a pool whose engines, and whose drafts' own GPUs, are in these `places`."""
    draft, (engines, apart) = pool.speculation, places
    formats = pool.precision.formats(model)
    draft.drafting(model, formats)
    last = (target.stages - 1) * target.stage_devices
    known: dict[tuple[object, ...], PriceTask | None] = {}
    own = []
    for i, (task, devices) in enumerate(zip(tasks, engines, strict=True)):
        near = apart[i] if apart else devices[last : last + target.stage_devices]
        key = (id(task), topology.pattern(near))
        if key not in known:
            known[key] = own_task(draft, pool, task, topology, near)
        own.append(known[key])
    auto = draft.draft_tokens == "auto"
    most = AUTO_UP_TO if auto else int(draft.draft_tokens)
    length = Quickest() if auto and pool.draft_length == Fixed() else pool.draft_length
    trees = tuple(draft.tree(k) for k in range(most + 1))
    _check_budget(pool, trees[-1], length)
    return DraftPlan(draft, length, trees, own_spread(draft, model, formats), apart, tuple(own))


def _check_budget(pool: PoolSettings, tree: Tree, length: DraftLength) -> None:
    """All may decode with their drafts; an adaptive length is cut to what the budget has."""
    engine = pool.engine
    wanted = engine.max_num_seqs * tree.tokens
    if isinstance(length, Fixed) and wanted > engine.max_num_batched_tokens:
        raise ScenarioError(
            f"engine.max_num_batched_tokens: {engine.max_num_batched_tokens} is below the {wanted} "
            f"tokens of max_num_seqs {engine.max_num_seqs} sequences with {tree.tokens} each to "
            "verify; raise it, lower max_num_seqs, or write a draft_length that follows the batch"
        )


def memory_with(draft: Draft, memory: Memory, pool: PoolSettings, task: PriceTask) -> Memory:
    """The memory of an engine that holds its draft too."""
    if draft.apart:
        return memory
    work = draft.drafting(task.model, task.formats)
    spread = own_spread(draft, task.model, task.formats) or one_stage(task.spread)
    return with_draft(memory, work, spread, pool.engine.block_size)
