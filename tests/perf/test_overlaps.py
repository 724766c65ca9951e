"""Work side by side on one GPU: published overlaps, and what any law of overlap owes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from helpers import planned, serving
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter

from sim import plugins
from sim.catalog.gpu import load_gpu
from sim.catalog.model import load_model
from sim.errors import ScenarioError
from sim.network.topology import load_topology
from sim.perf.batch_parts import in_parts
from sim.perf.layouts import Layout
from sim.perf.layouts.attention_ffn_split import AttentionFfnSplit
from sim.perf.layouts.dp_attention import DpAttention
from sim.perf.layouts.single import Single
from sim.perf.layouts.tensor import Tensor
from sim.perf.overlaps import Overlap
from sim.perf.overlaps.dual_batches import DualBatches
from sim.perf.overlaps.ladder import Ladder
from sim.perf.overlaps.nano_batches import NanoBatches
from sim.perf.overlaps.none import NoOverlap
from sim.perf.overlaps.shared_expert import SharedExpert
from sim.perf.partition import (
    Phases,
    Scaling,
    best_share,
    decode_bandwidth_share,
    kept_share,
    protects_decode,
)
from sim.perf.shape import StepShape, pairs
from sim.perf.streams import Beside, Lanes, Parts, Streams
from sim.perf.task import Precision, PriceTask
from sim.perf.timers.roofline import Roofline
from sim.scenario.placing import wires

FREE = Roofline(launch_s=0.0, host_s=0.0)
SECONDS = st.floats(0.0, 10.0)
COLLECTIVE = frozenset({"collective"})


def task(
    name: str, layout: Layout, overlap: Overlap | None = None, tokens: int = 2048
) -> PriceTask:
    model = load_model(name)
    spread, topology = layout.plan(model), load_topology("hgx_h200")
    among = wires(topology, spread, tuple(range(spread.devices)))
    formats = Precision().formats(model)
    return PriceTask(model, spread, load_gpu("h200"), formats, among, tokens, 256, overlap)


# ---- laws


@given(one=SECONDS, two=SECONDS)
def test_streams_range_from_one_after_the_other_to_free(one: float, two: float) -> None:
    parts = Parts(one, 0.0, 0.0, two)
    assert Streams(COLLECTIVE, 1.0, 1.0).joined(parts) == pytest.approx(one + two)
    assert Streams(COLLECTIVE, 0.0, 0.0).joined(parts) == pytest.approx(max(one, two))
    exposed = Streams(COLLECTIVE, 0.0, 0.0, exposed=1.0)
    assert exposed.joined(parts) == pytest.approx(one + two)


@given(one=st.floats(0.1, 10.0), two=st.floats(0.1, 10.0), a=st.floats(0.3, 1), b=st.floats(0.7, 1))
def test_what_outlasts_the_other_finishes_at_full_speed(
    one: float, two: float, a: float, b: float
) -> None:
    """Played out: both run at a and b until one ends."""
    first = min(one / a, two / b)
    left = max(one - first * a, two - first * b)
    made = Streams.speeds(COLLECTIVE, a, b).joined(Parts(one, 0.0, 0.0, two))
    assert made == pytest.approx(first + left)


@given(one=SECONDS, two=SECONDS, x=st.floats(0, 1), y=st.floats(0, 1))
def test_two_lanes_are_two_streams(one: float, two: float, x: float, y: float) -> None:
    parts = Parts(one, 0.0, 0.0, two)
    lanes = Lanes((frozenset({"linear"}), COLLECTIVE), ((0.0, x), (y, 0.0)))
    assert lanes.joined(parts) == pytest.approx(Streams(COLLECTIVE, x, y).joined(parts))


@given(linear=SECONDS, shared=SECONDS, exchange=SECONDS)
def test_a_shared_expert_hides_at_most_itself_or_the_exchange(
    linear: float, shared: float, exchange: float
) -> None:
    parts = Parts(linear + shared, 1.0, 2.0, exchange, shared=shared)
    free, serial = Beside(0.0, 0.0).joined(parts), Beside(1.0, 1.0).joined(parts)
    assert serial == pytest.approx(linear + shared + 3.0 + exchange)
    assert serial - free == pytest.approx(min(shared, exchange))


@given(amount=st.integers(0, 100), parts=st.integers(1, 8))
def test_a_batch_in_parts_reads_the_weights_once_a_part(amount: int, parts: int) -> None:
    """Compute-bound work costs the same, memory-bound work once for every part that is not
    empty."""
    tokens = np.array([float(amount)])
    bound = in_parts(lambda t: 3.0 * t, tokens, parts)
    read = in_parts(lambda t: np.where(t > 0, 5.0, 0.0), tokens, parts)
    assert bound[0] == pytest.approx(3.0 * amount)
    assert read[0] == pytest.approx(5.0 * min(parts, amount))


# ---- published figures


def test_two_micro_batches_slow_both_sides_as_xllm_measured() -> None:
    """Part C, T29: collectives of a layer 9.3 ms alone and 12.4 ms beside computation, 2.5 ms of
    it exposed, computation + 4 ms; 172 ms over 61 layers gained."""
    law = DualBatches().streams(task("deepseek-v3", DpAttention(dp=8)))
    compute, network = 30.0, 9.3
    joined = law.joined(Parts(compute, 0.0, 0.0, network))
    gained = compute + network - joined
    assert 61 * gained == pytest.approx(172.0, rel=0.01)
    assert joined - compute == pytest.approx(4.0 + 2.5)
    hidden = network * (1.0 - law.exposed) / DualBatches().network_speed
    assert hidden + 2.5 == pytest.approx(12.4)
    assert hidden / 12.4 == pytest.approx(0.8, abs=0.005)


LADDER = [
    (35.42, 36.69, 38.24), (59.41, 67.51, 69.04), (77.39, 101.22, 110.59), (120.58, 126.09, 130.77),
    (185.01, 204.30, 213.73), (585.23, 635.98, 665.07), (1249.67, 1358.65, 1433.53),
]  # fmt: skip
"""Tokens per second of Llama-3-70B on H100: standard, ladder, without communication."""


@pytest.mark.parametrize(("standard", "ladder", "bound"), LADDER)
def test_ladder_throughput_follows_from_the_time_of_its_all_reduces(
    standard: float, ladder: float, bound: float
) -> None:
    """Part C, T31: given the time of the all-reduces, within 5 %."""
    law = Ladder().streams(task("llama-3.1-70b", Tensor(tp=8)))
    compute, network = 1.0 / bound, 1.0 / standard - 1.0 / bound
    assert 1.0 / law.joined(Parts(compute, 0.0, 0.0, network)) == pytest.approx(ladder, rel=0.05)


def test_the_share_that_ladder_hides_is_the_mean_of_what_was_measured() -> None:
    found = [(1 / s - 1 / w) / (1 / s - 1 / b) for s, w, b in LADDER]
    assert min(found) == pytest.approx(0.47, abs=0.01)
    assert max(found) == pytest.approx(0.86, abs=0.01)
    assert Ladder().hidden == pytest.approx(sum(found) / len(found), abs=0.01)


def test_nano_batches_lie_between_one_after_the_other_and_the_bound_of_compute() -> None:
    """Part C, T17: operation times of Llama-2-70B for 2048 tokens on 8 A100, measured alone, ms.
    One after the other they make 61 % of the bound of 1857 tokens/s/GPU."""
    products = 16.08 + 16.01 + 69.92 + 34.96
    parts = Parts(products, 35.60 + 4.56, 0.0, 47.92)
    serial = 2048 / 8 / (1e-3 * (products + 35.60 + 4.56 + 47.92))
    assert serial / 1857 == pytest.approx(0.61, abs=0.005)
    law = NanoBatches().streams(task("llama-2-70b", Tensor(tp=8)))
    nano = 2048 / 8 / (1e-3 * law.joined(parts))
    assert 0.7 < nano / 1857 < 0.85, "weights read twice and the host come on top"


# ---- in a price list


def priced(made: PriceTask, shape: StepShape) -> float:
    return FREE.compile(made).price([shape] * made.spread.ranks)


def mixed(decodes: int, tokens: int) -> StepShape:
    shape = StepShape(decodes=decodes, context_tokens=2000 * decodes, sampled=decodes)
    if tokens:
        shape.prefills, shape.prefill_tokens = 1, tokens
        shape.prefill_pairs, shape.prefill_kv_tokens = pairs(0, tokens), tokens
    return shape


CASES: dict[str, tuple[str, Layout, Overlap]] = {
    "ladder": ("llama-3.1-70b", Tensor(tp=8), Ladder()),
    "nano_batches": ("llama-3.1-70b", Tensor(tp=8), NanoBatches()),
    "dual_batches": ("deepseek-v3", DpAttention(dp=8), DualBatches()),
    "shared_expert": ("deepseek-v3", DpAttention(dp=8), SharedExpert()),
    "none": ("llama-3.1-8b", Single(), NoOverlap()),
}


def test_every_overlap_has_a_case_here() -> None:
    assert set(plugins.names("sim.perf.overlaps")) == set(CASES)


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize(("decodes", "tokens"), [(1, 0), (64, 0), (256, 0), (64, 1500), (0, 2000)])
def test_an_overlap_never_slows_a_step_nor_hides_its_longest_part(
    name: str, decodes: int, tokens: int
) -> None:
    model, layout, overlap = CASES[name]
    shape = mixed(decodes, tokens)
    without, with_ = (priced(task(model, layout, o), shape) for o in (None, overlap))
    tables = FREE.compile(task(model, layout)).tables[0]
    total = shape.tokens
    longest = max(
        tables.linear[total], tables.attention_s(shape), tables.collective[total],
        tables.experts[total * (8 if isinstance(layout, DpAttention) else 1)],
    )  # fmt: skip
    assert longest <= with_ <= without * (1 + 1e-12)
    if name not in ("none",) and decodes + tokens >= 1500:
        assert with_ < without


def test_one_sequence_cannot_be_divided() -> None:
    one = mixed(1, 0)
    alone, cut = (
        priced(task("llama-3.1-70b", Tensor(tp=8), o), one) for o in (None, NanoBatches())
    )
    assert cut == alone


def test_small_steps_run_whole_and_large_ones_in_parts() -> None:
    """Weights read twice cost more than what a small decode step can hide."""
    small, large = mixed(8, 0), mixed(0, 2000)
    plain = [priced(task("llama-3.1-70b", Tensor(tp=2)), s) for s in (small, large)]
    cut = [priced(task("llama-3.1-70b", Tensor(tp=2), NanoBatches()), s) for s in (small, large)]
    assert cut[0] == plain[0]
    assert cut[1] < 0.95 * plain[1]


SPLIT: Layout = TypeAdapter(AttentionFfnSplit).validate_python({"ffn": {"tp": 2}})


@pytest.mark.parametrize(
    ("overlap", "model", "layout", "says"),
    [
        (Ladder(), "llama-3.1-8b", Single(), "has none"),
        (Ladder(), "qwen3-30b-a3b", DpAttention(dp=4), "all-to-all"),
        (DualBatches(), "llama-3.1-8b", Single(), "has none"),
        (SharedExpert(), "qwen3-30b-a3b", DpAttention(dp=4), "no shared experts"),
        (SharedExpert(), "deepseek-v3", Tensor(tp=8), "use dp_attention"),
        (NanoBatches(), "llama-3.1-8b", SPLIT, "micro-batches are its overlap"),
    ],
    ids=str,
)
def test_an_overlap_without_effect_is_refused_with_a_way_out(
    overlap: Overlap, model: str, layout: Layout, says: str
) -> None:
    with pytest.raises(ScenarioError, match=rf"^overlap: .*{says}"):
        FREE.compile(task(model, layout, overlap, tokens=32))


@pytest.mark.parametrize("name", [n for n in CASES if n != "none"])
def test_figures_of_interference_are_listed_with_their_source(name: str) -> None:
    model, layout, _ = CASES[name]
    width = {"tp": 8} if isinstance(layout, Tensor) else {"dp": 8}
    given = {"tensor" if isinstance(layout, Tensor) else "dp_attention": width}
    pool = {"layout": given, "overlap": name}
    tree = serving({"path": "traces/sample_azure.csv"}, model=model, topology="hgx_h200")
    rows: list[Any] = planned(tree | {"pools": {"serve": pool}}).assumptions()
    plain: list[Any] = planned(
        tree | {"pools": {"serve": pool | {"overlap": "none"}}}
    ).assumptions()
    more = [r for r in rows if r not in plain]
    assert more
    assert all(r["source"] for r in more)


# ---- two phases on one GPU


def test_work_speeds_up_with_multiprocessors_until_it_saturates() -> None:
    linear, early = Scaling(), Scaling(saturation=0.5, decay=0.2)
    assert linear.seconds(1.0, 0.25) == pytest.approx(4.0)
    assert early.seconds(1.0, 1.0) == pytest.approx(1.0)
    assert early.seconds(1.0, 0.5) == pytest.approx(0.6 / 0.5)
    assert early.seconds(1.0, 0.75) == pytest.approx(0.6 / 0.55)


def test_decode_shares_bandwidth_by_demand_over_the_time_of_prefills_parts() -> None:
    """P · m_d/(m_d + m_p1) + (1 − P) · m_d/(m_d + m_p2)."""
    share = decode_bandwidth_share(0.25, decode=0.8, attention=0.2, products=0.4)
    assert share == pytest.approx(0.25 * 0.8 + 0.75 * 2 / 3)
    assert decode_bandwidth_share(0.5, 0.8, 0.0, 0.0) == 1.0


PHASES = Phases(
    prefill_products_s=0.080,
    prefill_attention_s=0.020,
    decode_compute_s=0.004,
    decode_memory_s=0.010,
    decode_demand=0.9,
    attention_demand=0.1,
    products_demand=0.3,
)
SHARES = [i / 20 for i in range(2, 19)]


@pytest.mark.parametrize("protect", [False, True])
def test_the_other_phase_keeps_within_its_factor_of_its_best(protect: bool) -> None:
    share = best_share(PHASES, SHARES, protect_decode=protect)
    prefill = [PHASES.prefill_s(r) for r in SHARES]
    decode = [PHASES.decode_s(1 - r) for r in SHARES]
    if protect:
        assert PHASES.prefill_s(share) <= 1.3 * min(prefill)
    else:
        assert PHASES.decode_s(1 - share) <= 1.1 * min(decode)
    assert share in SHARES


def test_prefill_gets_more_while_it_is_protected() -> None:
    """A decode step is bound by memory: it needs few multiprocessors, as Nexus observes."""
    eager, shy = (best_share(PHASES, SHARES, protect_decode=p) for p in (False, True))
    assert eager >= 0.5
    assert shy <= eager


def test_a_full_kv_pool_protects_decode_and_small_changes_are_not_made() -> None:
    assert not protects_decode(0.70)
    assert protects_decode(0.71)
    assert kept_share(0.5, 0.53, 0.05) == 0.5
    assert kept_share(0.5, 0.60, 0.05) == 0.60
