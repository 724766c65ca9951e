"""The passes of a schedule as columns of step shapes, for the array face of a compiled timer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sim.perf.price_list import Shapes
from sim.perf.shape import MAX_CAPS
from sim.search.schedule import Ints, Schedule

PREFILL = ("prefills", "prefill_tokens", "prefill_pairs", "prefill_kv_tokens")


def columns(
    schedule: Schedule, caps: tuple[int, ...], growth: float = 1.0
) -> dict[str, NDArray[Any]]:
    """Columns of `sim.perf.price_list.Shapes` of one rank, each shaped (passes,). A sequence grows
    by `growth` tokens every time that it decodes."""
    decodes, ages = _members(schedule, None)
    shortest = schedule.load.prompt_tokens + 1
    out: dict[str, NDArray[Any]] = {
        "decodes": decodes,
        "context_tokens": decodes * shortest + _grown(ages, growth),
    }
    for i in range(MAX_CAPS):
        cap = caps[i] if i < len(caps) else 0
        low = min(shortest, cap)
        _, older = _members(schedule, int((cap - low) / growth))
        out[f"capped_{i + 1}"] = decodes * low + _grown(older, growth)
    return {k: _at_ticks(schedule, v) for k, v in out.items()} | _prompts(schedule, caps, decodes)


def _grown(ages: Ints, growth: float) -> NDArray[Any]:
    """Tokens that sequences of these summed ages have decoded; whole numbers stay so."""
    return ages if growth == 1.0 else ages * growth


def _at_ticks(s: Schedule, by_tick: NDArray[Any]) -> NDArray[Any]:
    """A column by ticks as one by passes; 0 in passes without decodes."""
    out = np.zeros(s.passes, dtype=by_tick.dtype)
    out[s.pass_of_tick] = by_tick
    return out


def _members(s: Schedule, limit: int | None) -> tuple[Ints, Ints]:
    """(sequences that decode, Σ of min(their earlier decodes, limit)) by tick.

    A sum of ages grows by one for everybody who stays (and is below the limit), and loses the whole
    age of those who leave: two running sums, along the ticks of each slot.
    """
    ticks, slots, more = len(s.pass_of_tick), s.rules.slots, s.load.output_tokens - 1
    if more == 0 or limit == 0:
        limit = 0
    rows = -(-ticks // slots) if ticks else 0

    def count(at: Ints) -> Ints:
        inside = at[(at >= 0) & (at < rows * slots)]
        return np.bincount(inside, minlength=rows * slots).reshape(rows, slots)

    def along(change: Ints) -> Ints:
        return np.cumsum(change, axis=0)

    joins = count(s.decode_from) if more else np.zeros((rows, slots), dtype=np.int64)
    leaves = count(s.decode_from + more * slots) if more else joins
    members = along(joins - leaves)
    oldest = more - 1 if limit is None else min(more - 1, limit)
    still = count(s.decode_from + (oldest + 1) * slots) if more else joins
    growing = along(joins - still) - joins
    ages = along(growing - leaves * oldest)
    return members.ravel()[:ticks], ages.ravel()[:ticks]


def _prompts(s: Schedule, caps: tuple[int, ...], decodes: Ints) -> dict[str, Ints]:
    """The columns of prompt chunks, as `engine/engine.py` adds them up."""
    t, o = s.chunk_tokens, s.chunk_offset

    def total(weights: NDArray[np.int64]) -> Ints:
        out = np.zeros(s.passes, dtype=np.int64)
        np.add.at(out, s.chunk_pass, weights)
        return out

    whole = t * o + t * (t + 1) // 2
    out = dict(zip(PREFILL, map(total, (np.ones_like(t), t, whole, o + t)), strict=True))
    for i in range(MAX_CAPS):
        cap = caps[i] if i < len(caps) else 0
        growing = np.minimum(np.maximum(cap - o, 0), t)
        capped = growing * o + growing * (growing + 1) // 2 + (t - growing) * cap
        out[f"capped_pairs_{i + 1}"] = total(capped if i < len(caps) else 0 * t)
    ending = total((o + t == s.load.prompt_tokens).astype(np.int64))
    return out | {"sampled": _at_ticks(s, decodes) + ending}


def side_by_side(ranks: Sequence[dict[str, NDArray[Any]] | None]) -> Shapes:
    """The columns of ranks that step together, shaped (passes, ranks), as long as the shortest;
    None is a rank with nothing to do."""
    busy = [r for r in ranks if r is not None]
    passes = min(len(r["decodes"]) for r in busy)
    none = np.zeros(passes, dtype=np.int64)
    return {
        k: np.stack([none if r is None else r[k][:passes] for r in ranks], axis=1) for k in busy[0]
    }


def without_prompts(shapes: Shapes) -> Shapes:
    """The same passes with decodes only."""
    none = np.zeros_like(shapes["decodes"])
    bare = {k: none if "prefill" in k or "pairs" in k else v for k, v in shapes.items()}
    return bare | {"sampled": shapes["decodes"]}


def decoding(schedule: Schedule, requests: Ints) -> Ints:
    """How many of these requests decode in each pass."""
    some = replace(schedule, decode_from=schedule.decode_from[requests])
    return _at_ticks(schedule, _members(some, 0)[0])
