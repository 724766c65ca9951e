"""What a draft takes of the fullest GPU: its weights, and its KV cache beside the target's."""

from __future__ import annotations

from dataclasses import replace
from math import gcd

from sim.errors import ScenarioError
from sim.perf.attentions.grouped import ACTIVATION_BYTES
from sim.perf.drafts import Drafting
from sim.perf.memory import KvGroup, Memory, kv_groups, stage_weight_bytes
from sim.perf.spread import Spread
from sim.units import human_bytes


def draft_weight_bytes(work: Drafting, spread: Spread) -> float:
    """Weights of a draft on one device of `spread`. A head that is the target's is not counted, nor
    are embeddings of EAGLE and MTP, which are the target's too."""
    if work.model is None or work.formats is None:
        return 0.0
    total = 0.0
    for model, copies in ((work.model, work.copies), (work.once, 1)):
        if model is None:
            continue
        whole = stage_weight_bytes(model, spread, work.formats, 0, model.layers)
        tables = ACTIVATION_BYTES * model.vocab * model.hidden / spread.head_tp
        ends = 1 if model.tied_embeddings else 2
        own = ends if model is work.model and work.own_head else 0
        total += copies * (whole - ends * tables) + own * tables
    return total


def with_draft(memory: Memory, work: Drafting, spread: Spread, block_tokens: int) -> Memory:
    """The memory of an engine whose fullest GPU holds a draft too. Every block of KV that the
    target keeps of a sequence has one of the draft's beside it; `copies` of MTP layers keep one
    each.

    ScenarioError, with the arithmetic, when no block of KV is left.
    """
    if work.model is None or work.formats is None:
        return memory
    weights = draft_weight_bytes(work, spread)
    left = memory.kv_bytes - weights
    layers = tuple(x for x in work.model.layers if x.attention.q_heads) * work.copies
    unit, groups = kv_groups(replace(work.model, layers=layers), spread, work.formats, block_tokens)
    unit_bytes, merged = _merged((memory.unit_bytes, memory.groups), (unit, groups))
    units = int(left // unit_bytes)
    if units < sum(g.units for g in merged):
        raise ScenarioError(
            f"speculation: {work.model.name} takes {human_bytes(weights)} of weights, and beside "
            f"the target {human_bytes(memory.kv_bytes)} are free; use more devices per engine, a "
            "smaller draft or GPUs of its own (draft_model.apart)"
        )
    return replace(
        memory,
        weight_bytes=memory.weight_bytes + weights,
        kv_bytes=left,
        kv_bytes_per_token=sum(g.units for g in merged) * unit_bytes / block_tokens,
        unit_bytes=unit_bytes,
        groups=merged,
        units=units,
    )


def _merged(
    first: tuple[float, tuple[KvGroup, ...]], second: tuple[float, tuple[KvGroup, ...]]
) -> tuple[float, tuple[KvGroup, ...]]:
    """(bytes per unit, groups) of both, those that grow alike in one; counted in whole bits."""
    bits: dict[int | None, int] = {}
    for unit_bytes, groups in (first, second):
        for g in groups:
            bits[g.cap_tokens] = bits.get(g.cap_tokens, 0) + g.units * round(8 * unit_bytes)
    unit = gcd(*bits.values())
    order = sorted(bits, key=lambda cap: (cap is not None, cap or 0))
    return unit / 8, tuple(KvGroup(cap, bits[cap] // unit) for cap in order)
