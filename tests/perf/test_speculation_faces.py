"""The engine's face of a speculative price list and that of searches agree to the last bit; a step
without drafts is the plain step; a run of steps is priced like its steps."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import pytest
from helpers import planned, serving
from hypothesis import given, settings
from hypothesis import strategies as st
from perf.test_faces import CHUNKS, columns, shape

from sim.perf.acceptances.iid import Iid
from sim.perf.drafts.draft_model import DraftModel
from sim.perf.drafts.eagle import Eagle
from sim.perf.drafts.mtp import Mtp
from sim.perf.drafts.ngram import Ngram
from sim.perf.shape import StepShape
from sim.perf.speculation.members import VerifyShape
from sim.perf.speculation.price import RUN_FROM, SpeculativeTimer, compile_speculation

TOKENS = 256
LAW = Iid(rate=0.75)
EAGLE = Eagle(acceptance=LAW)
TREE = Eagle(acceptance=LAW, draft_tokens=3, topk=2, verify_tokens=6)
KINDS: dict[str, tuple[Any, ...]] = {
    "eagle": ("llama-3.1-8b", "single_gpu", "single", EAGLE),
    "tree": ("llama-3.1-8b", "single_gpu", "single", TREE),
    "2 stages": ("llama-3.1-8b", "dgx_h100", {"tensor": {"tp": 2, "pp": 2}}, EAGLE),
    "small model": ("llama-3.1-70b", "dgx_h100", {"tensor": {"tp": 4}},
                    DraftModel(model="llama-3.1-8b", acceptance=LAW)),
    "lookup": ("llama-3.1-8b", "single_gpu", "single", Ngram(acceptance=LAW)),
    "lockstep": ("deepseek-v3", "hgx_h200", {"dp_attention": {"dp": 8}}, Mtp(acceptance=LAW)),
    "windows": ("gpt-oss-120b", "dgx_h100", "single", EAGLE),
    "helix": ("llama-3.1-70b", "dgx_h100", {"helix": {"kvp": 2, "tpa": 4}}, EAGLE),
    "dual batches": ("deepseek-v3", "hgx_h200", {"dp_attention": {"dp": 8}}, Mtp(acceptance=LAW),
                     "dual_batches"),
}  # fmt: skip


@cache
def compiled(kind: str) -> tuple[SpeculativeTimer, Any, int]:
    """(timer, draft, ranks)"""
    model, topology, layout, draft, *overlap = KINDS[kind]
    pool = {
        "layout": layout,
        "overlap": overlap[0] if overlap else "none",
        "engine": {"max_num_batched_tokens": TOKENS, "max_num_seqs": TOKENS // 8},
    }
    workload = {"path": "traces/sample_azure.csv"}
    made = planned(serving(workload, model=model, topology=topology, pools={"serve": pool}))
    (plan,) = made.pools
    timer = compile_speculation(draft, 3, plan.settings.timer, plan.tasks[0])
    return timer, draft, plan.spread.ranks


def verifying(plain: StepShape, tree: Any) -> VerifyShape:
    """The same with its tree."""
    names = [n for n in StepShape.__slots__ if n != "below"]
    return VerifyShape(**{n: getattr(plain, n) for n in names}, tree=tree)


CONTEXTS = st.lists(st.one_of(st.integers(1, 300), st.integers(1, 100_000)), max_size=TOKENS // 16)
kinds = pytest.mark.parametrize("kind", KINDS)


@kinds
@given(data=st.data())
@settings(max_examples=15)
def test_one_price_two_faces(kind: str, data: st.DataObject) -> None:
    timer, draft, ranks = compiled(kind)
    tree = draft.tree(data.draw(st.sampled_from([0, 1, 3]))) if kind != "tree" else draft.tree(3)
    many = st.tuples(CONTEXTS, CHUNKS)
    steps = [
        [verifying(shape(timer.caps, *data.draw(many)), tree) for _ in range(ranks)]
        for _ in range(3)
    ]
    scalar = [timer.price(step) for step in steps]
    assert timer.drafting(tree).seconds(columns(steps)).tolist() == scalar
    for step, price in zip(steps, scalar, strict=True):
        assert sum(timer.price_stages(step)) == pytest.approx(price, rel=1e-12)


@kinds
@given(data=st.data())
@settings(max_examples=15)
def test_a_step_without_drafts_costs_what_a_plain_step_costs(
    kind: str, data: st.DataObject
) -> None:
    timer, draft, ranks = compiled(kind)
    plain = [shape(timer.caps, data.draw(CONTEXTS), ()) for _ in range(ranks)]
    off = [verifying(s, draft.tree(0)) for s in plain]
    assert timer.price(off) == timer.plain.price(plain)


@kinds
@given(data=st.data(), n=st.sampled_from([1, RUN_FROM - 1, RUN_FROM, 40]))
@settings(max_examples=15)
def test_a_run_is_priced_like_its_steps(kind: str, data: st.DataObject, n: int) -> None:
    timer, draft, ranks = compiled(kind)
    tree = draft.tree(3)
    sums: list[list[Any]] = []
    for rank in range(ranks):
        members = data.draw(st.integers(0 if rank else 1, 20))
        growth = np.array(data.draw(st.lists(st.integers(0, 4 * members), min_size=n, max_size=n)))
        context = 300 * members + np.cumsum(growth)
        capped = [np.minimum(context, cap * members) for cap in timer.caps]
        sums.append([members, context, capped])

    def at(j: int) -> list[VerifyShape]:
        out = []
        for members, context, capped in sums:
            s = VerifyShape(decodes=members, context_tokens=int(context[j]), sampled=members)
            s.capped_tokens[: len(capped)] = [int(c[j]) for c in capped]
            s.tree, s.contexts, s.capped, s.at = tree, context, tuple(capped), j
            out.append(s)
        return out

    run = timer.price_run(at(0), n)
    assert run == [timer.price(at(j)) for j in range(n)]
    assert run == timer.drafting(tree).seconds(columns([at(j) for j in range(n)])).tolist()


@kinds
@given(data=st.data())
@settings(max_examples=8)
def test_the_causes_of_a_step_add_up_to_its_price(kind: str, data: st.DataObject) -> None:
    timer, draft, ranks = compiled(kind)
    many = st.tuples(CONTEXTS, CHUNKS)
    for tree in (draft.tree(3), draft.tree(0)):
        step = [verifying(shape(timer.caps, *data.draw(many)), tree) for _ in range(ranks)]
        causes = timer.drafting(tree).breakdown(columns([step]))
        total = sum(causes.values())
        assert total[0].max() == pytest.approx(timer.price(step), rel=1e-9)
        assert total[0].min() == pytest.approx(timer.price(step), rel=1e-9)
