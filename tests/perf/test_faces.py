"""The scalar and the array face of a price list agree to the last bit, for every timer, layout and
kind of attention; and the causes add up to the price."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np
import pytest
from helpers import planned, serving
from hypothesis import given, settings
from hypothesis import strategies as st

from sim.perf.price_list import Shapes
from sim.perf.shape import StepShape, capped_pairs, pairs
from sim.perf.step_timer import VECTOR_FROM, StepTimer, run_of

TOKENS = 64
MACHINES: dict[str, tuple[Any, ...]] = {
    "grouped, one device": ("llama-3.1-8b", "single_gpu", "single"),
    "grouped, tensor parallel": ("llama-3.1-70b", "dgx_h100", {"tensor": {"tp": 4}}),
    "grouped, 4 stages": ("llama-3.1-8b", "dgx_h100", {"tensor": {"tp": 2, "pp": 4}}),
    "experts, lockstep": ("qwen3-30b-a3b", "dgx_h100", {"dp_attention": {"dp": 4}}),
    "lockstep of pairs": ("qwen3-30b-a3b", "dgx_h100", {"dp_attention": {"dp": 2, "tp": 2}}),
    "windows": ("gpt-oss-120b", "dgx_h100", "single"),
    "windows, 3 stages": ("gpt-oss-120b", "dgx_h100", {"tensor": {"pp": 3}}),
    "latent, tensor parallel": ("deepseek-v3", "hgx_h200", {"tensor": {"tp": 8, "ep": 8}}),
    "latent, lockstep": ("deepseek-v3", "hgx_h200", {"dp_attention": {"dp": 8}}),
    "sparse": ("deepseek-v3.2", "hgx_h200", {"dp_attention": {"dp": 8}}),
    "states and latent experts": ("nemotron-3-super", "hgx_h200", {"tensor": {"tp": 2}}),
    "helix": ("llama-3.1-70b", "dgx_h100", {"helix": {"kvp": 2, "tpa": 4}}),
    "helix, latent and experts": ("deepseek-v3", "hgx_h200", {"helix": {"kvp": 8, "ep": 4}}),
    "ring of windows": ("gpt-oss-120b", "dgx_h100", {"context_parallel": {"cp": 2}}),
    "gathered keys": ("deepseek-v3.2", {"name": "hgx_h200", "nodes": 2},
                      {"context_parallel": {"cp": 2, "tp": 8, "method": "all_gather"}}),
    "attention beside experts": (
        "qwen3-30b-a3b", "dgx_h100",
        {"attention_ffn_split": {"attention": {"dp": 2, "tp": 2}, "ffn": {"ep": 4}}}),
    "nano-batches, 2 stages": ("llama-3.1-70b", "dgx_h100", {"tensor": {"tp": 4, "pp": 2}},
                               {"nano_batches": {"batches": 3}}),
    "dual batches": ("deepseek-v3", "hgx_h200", {"dp_attention": {"dp": 8}}, "dual_batches"),
    "shared expert": ("deepseek-v3", "hgx_h200", {"dp_attention": {"dp": 8}}, "shared_expert"),
}  # fmt: skip
TIMERS: dict[str, Any] = {
    "roofline": "roofline",
    "calibrated": "calibrated",
    "constant": {"constant": {"step_s": 0.0123, "token_s": 0.00037}},
}
CAUSES = ("linear_s", "attention_s", "experts_s", "collective_s", "host_s", "rank_wait_s")


@cache
def compiled(machine: str, timer: str) -> tuple[StepTimer, int]:
    """(timer, ranks)"""
    model, topology, layout, *overlap = MACHINES[machine]
    pool = {
        "layout": layout,
        "overlap": overlap[0] if overlap else "none",
        "timer": TIMERS[timer],
        "engine": {"max_num_batched_tokens": TOKENS, "max_num_seqs": TOKENS},
    }
    workload = {"path": "traces/sample_azure.csv"}
    made = planned(serving(workload, model=model, topology=topology, pools={"serve": pool}))
    (plan,) = made.pools
    return plan.settings.timer.compile(plan.tasks[0]), plan.spread.ranks


def shape(
    caps: tuple[int, ...], contexts: Sequence[int], chunks: Sequence[tuple[int, int]]
) -> StepShape:
    """Decodes with these contexts and chunks of (offset, tokens)."""
    s = StepShape(decodes=len(contexts), context_tokens=sum(contexts), prefills=len(chunks))
    s.prefill_tokens = sum(t for _, t in chunks)
    s.prefill_pairs = sum(pairs(o, t) for o, t in chunks)
    s.prefill_kv_tokens = sum(o + t for o, t in chunks)
    s.sampled = len(contexts) + len(chunks) // 2
    for i, cap in enumerate(caps):
        s.capped_tokens[i] = sum(min(c, cap) for c in contexts)
        s.below[i] = sum(c < cap for c in contexts)
        s.capped_pairs[i] = sum(capped_pairs(o, t, cap) for o, t in chunks)
    return s


CONTEXTS = st.lists(st.one_of(st.integers(1, 300), st.integers(1, 130_000)), max_size=TOKENS // 2)
CHUNKS = st.lists(st.tuples(st.integers(0, 20_000), st.integers(1, TOKENS // 8)), max_size=4)


def columns(steps: Sequence[Sequence[StepShape]]) -> Shapes:
    """Steps of ranks as columns shaped (steps, ranks)."""
    plain = ("decodes", "context_tokens", "prefills", "prefill_tokens", "prefill_pairs",
             "prefill_kv_tokens", "sampled")  # fmt: skip
    out = {n: np.array([[getattr(s, n) for s in ranks] for ranks in steps]) for n in plain}
    for i in (0, 1):
        for name, field in (("capped", "capped_tokens"), ("capped_pairs", "capped_pairs")):
            out[f"{name}_{i + 1}"] = np.array(
                [[getattr(s, field)[i] for s in ranks] for ranks in steps]
            )
    return out


machines = pytest.mark.parametrize("machine", MACHINES)
timers = pytest.mark.parametrize("timer", TIMERS)


@machines
@timers
@given(data=st.data())
@settings(max_examples=15)
def test_one_price_two_faces(machine: str, timer: str, data: st.DataObject) -> None:
    made, ranks = compiled(machine, timer)
    draw = st.tuples(CONTEXTS, CHUNKS)
    steps = [
        [shape(made.caps, *data.draw(draw)) for _ in range(ranks)]
        for _ in range(data.draw(st.integers(1, 4)))
    ]
    scalar = [made.price(step) for step in steps]
    assert made.seconds(columns(steps)).tolist() == scalar
    for step, price in zip(steps, scalar, strict=True):
        stages = made.price_stages(step)
        assert len(stages) == made.stages
        total = stages[0]
        for seconds in stages[1:]:
            total += seconds
        assert total == price


@machines
@timers
@given(data=st.data(), n=st.sampled_from([1, 2, 7, VECTOR_FROM - 1, VECTOR_FROM, 3 * VECTOR_FROM]))
@settings(max_examples=10)
def test_a_run_of_steps_is_priced_like_its_steps(
    machine: str, timer: str, n: int, data: st.DataObject
) -> None:
    """Within a run nobody crosses a cap, so contexts are drawn away from the caps."""
    made, ranks = compiled(machine, timer)
    far = st.one_of(st.integers(1_000, 3_000), st.integers(60_000, 90_000))
    near = [c for c in made.caps if c > 4 * VECTOR_FROM]
    below = st.integers(1, min(near) - 3 * VECTOR_FROM - 2) if near else far
    one = st.one_of(far, below).filter(lambda c: not any(c <= cap <= c + n for cap in made.caps))
    contexts = [data.draw(st.lists(one, max_size=20)) for _ in range(ranks - 1)]
    contexts.append(data.draw(st.lists(one, min_size=1, max_size=20)))
    shapes = [shape(made.caps, c, ()) for c in contexts]
    steps = [[shape(made.caps, [c + i for c in cs], ()) for cs in contexts] for i in range(n)]
    expected = [made.price(step) for step in steps]
    assert list(made.price_run(shapes, n)) == expected
    assert made.seconds(run_of(shapes, n)).tolist() == expected
    untouched = [s.context_tokens for s in shapes]
    assert untouched == [sum(c) for c in contexts], "pricing changed what it priced"


@machines
@timers
@given(data=st.data())
@settings(max_examples=10)
def test_the_causes_of_a_step_add_up_to_its_price(
    machine: str, timer: str, data: st.DataObject
) -> None:
    made, ranks = compiled(machine, timer)
    step = [shape(made.caps, *data.draw(st.tuples(CONTEXTS, CHUNKS))) for _ in range(ranks)]
    causes = made.breakdown(columns([step]))
    total = sum(causes[c] for c in CAUSES)
    price = made.price(step)
    assert total[0].tolist() == pytest.approx([price] * ranks, rel=1e-12)
    for name, values in causes.items():
        assert (values >= 0).all(), name


@machines
@given(data=st.data())
@settings(max_examples=10)
def test_decode_alone_is_the_price_of_the_same_step_without_its_prompts(
    machine: str, data: st.DataObject
) -> None:
    made, ranks = compiled(machine, "roofline")
    drawn = [data.draw(st.tuples(CONTEXTS, CHUNKS)) for _ in range(ranks)]
    step = [shape(made.caps, *d) for d in drawn]
    alone = [shape(made.caps, contexts, ()) for contexts, _ in drawn]
    causes = made.breakdown(columns([step]))
    price = made.price(alone) if any(contexts for contexts, _ in drawn) else 0.0
    assert causes["decode_alone_s"][0].tolist() == pytest.approx([price] * ranks, rel=1e-12)


@machines
@given(
    contexts=st.lists(st.integers(1, 5000), min_size=1, max_size=20),
    chunks=CHUNKS,
    more=st.integers(1, 1000),
)
@settings(max_examples=10)
def test_more_work_never_takes_less_time(
    machine: str, contexts: list[int], chunks: list[tuple[int, int]], more: int
) -> None:
    made, ranks = compiled(machine, "roofline")
    others = [shape(made.caps, [], []) for _ in range(ranks - 1)]

    def price(contexts: list[int], chunks: list[tuple[int, int]]) -> float:
        return made.price([shape(made.caps, contexts, chunks), *others])

    base = price(contexts, chunks)
    assert price([contexts[0] + more, *contexts[1:]], chunks) >= base
    assert price([*contexts, more], chunks) >= base
    assert price(contexts, [*chunks, (more, 3)]) >= base


@given(offset=st.integers(0, 60), tokens=st.integers(0, 60), cap=st.integers(1, 70))
def test_pairs_are_those_counted_one_by_one(offset: int, tokens: int, cap: int) -> None:
    seen = [offset + i + 1 for i in range(tokens)]
    assert pairs(offset, tokens) == sum(seen)
    assert capped_pairs(offset, tokens, cap) == sum(min(s, cap) for s in seen)


@given(cuts=st.lists(st.integers(1, 50), min_size=1, max_size=8), cap=st.integers(1, 200))
def test_a_prompt_cut_into_chunks_has_the_pairs_of_the_whole(cuts: list[int], cap: int) -> None:
    total = sum(cuts)
    offsets = [sum(cuts[:i]) for i in range(len(cuts))]
    chunks = list(zip(offsets, cuts, strict=True))
    assert sum(pairs(o, t) for o, t in chunks) == pairs(0, total)
    assert sum(capped_pairs(o, t, cap) for o, t in chunks) == capped_pairs(0, total, cap)
