"""Bounds that no engine can beat, and laws of layouts: roofline, tensor parallelism, experts,
pipelines."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from helpers import Ask, Run, generated, planned, play, play_asks, serving, steady
from hypothesis import given
from hypothesis import strategies as st

from sim.catalog.counting import active_params, total_params
from sim.perf.memory import stage_weight_bytes
from sim.perf.operators.experts import touched
from sim.perf.shape import StepShape, pairs
from sim.scenario.pools import PoolPlan

NO_OVERHEAD = {"roofline": {"launch_s": 0, "host_s": 0, "tensor": 1.0, "hbm": 1.0,
                            "attention_tensor": 1.0, "attention_hbm": 1.0}}  # fmt: skip


def pool_of(model: str, topology: str, layout: Any, timer: Any, tokens: int = 8192) -> PoolPlan:
    engine = {"max_num_batched_tokens": tokens, "max_num_seqs": 64}
    pool = {"layout": layout, "timer": timer, "engine": engine}
    tree = serving(generated(1, 1, 1, "at_once"), model=model, topology=topology,
                   pools={"serve": pool})  # fmt: skip
    return planned(tree).pools[0]


def price(pool: PoolPlan, contexts: Sequence[int] = (), prompt: int = 0) -> float:
    """Seconds of a step of one rank: decodes with these contexts, or one prompt."""
    s = StepShape(decodes=len(contexts), context_tokens=sum(contexts))
    s.sampled = len(contexts) + bool(prompt)
    if prompt:
        s.prefills, s.prefill_tokens = 1, prompt
        s.prefill_pairs, s.prefill_kv_tokens = pairs(0, prompt), prompt
    timer = pool.settings.timer.compile(pool.tasks[0])
    idle = [StepShape() for _ in range(pool.spread.ranks - 1)]
    return timer.price([s, *idle])


MODELS = [
    ("llama-3.1-8b", "single_gpu", "single"),
    ("llama-3.1-70b", "dgx_h100", {"tensor": {"tp": 4}}),
    ("qwen3-32b", "single_gpu", "single"),
]


@pytest.mark.parametrize(("model", "topology", "layout"), MODELS)
@pytest.mark.parametrize("timer", ["roofline", NO_OVERHEAD], ids=["real", "ideal"])
def test_a_decode_step_takes_at_least_the_time_to_read_the_weights(
    model: str, topology: str, layout: Any, timer: Any
) -> None:
    """Weights (without the input embedding, of which one row is read) and KV over bandwidth."""
    pool = pool_of(model, topology, layout, timer)
    m, tp = pool.model, pool.spread.attention_tp
    embedding = 2.0 * m.vocab * m.hidden / tp
    held = stage_weight_bytes(m, pool.spread, pool.formats, 0, m.layers)
    norms = 2.0 * 2 * m.hidden * len(m.layers)
    kv = 5000 * pool.memory.kv_bytes_per_token
    bound = (held - embedding - norms + kv) / pool.gpu.hbm_bytes_per_s
    assert price(pool, [5000]) >= bound
    if timer is NO_OVERHEAD and tp == 1:
        assert price(pool, [5000]) == pytest.approx(bound, rel=0.02)


@pytest.mark.parametrize(("model", "topology", "layout"), MODELS)
def test_a_long_prompt_takes_at_least_its_operations_over_the_peak(
    model: str, topology: str, layout: Any
) -> None:
    """2 operations a weight and token, without embedding (a lookup) and head (one token)."""
    pool = pool_of(model, topology, layout, "roofline")
    m = pool.model
    weights = active_params(m) - 2 * m.vocab * m.hidden
    flops = 2.0 * weights * 8192
    peak = pool.gpu.flops_per_s["bf16"] * pool.spread.devices
    assert price(pool, prompt=8192) >= flops / peak


def test_an_ideal_gpu_prefills_at_its_peak() -> None:
    """Attention's own operations included: 4 · heads · head_dim · layers per causal pair. Norms
    and activations are kernels of their own that move (8·hidden + 3·width) numbers of 2 bytes a
    token and layer."""
    pool = pool_of("llama-3.1-8b", "single_gpu", "single", NO_OVERHEAD)
    m = pool.model
    weights = total_params(m) - 2 * m.vocab * m.hidden
    attention = 4.0 * 32 * 128 * 32 * pairs(0, 8192)
    bound = (2.0 * weights * 8192 + attention) / pool.gpu.flops_per_s["bf16"]
    moved = 2.0 * (8 * 4096 + 3 * 14336) * 32 * 8192 / pool.gpu.hbm_bytes_per_s
    measured = price(pool, prompt=8192)
    print(f"\n8192 tokens: bound {bound * 1e3:.2f} ms, priced {measured * 1e3:.2f} ms")
    assert bound <= measured
    assert measured == pytest.approx(bound + moved, rel=0.01)


@pytest.mark.parametrize("model", ["llama-3.1-8b", "llama-3.1-70b", "qwen3-32b"])
def test_tensor_parallelism_divides_the_time_to_read_the_weights(model: str) -> None:
    """Without collectives (a decode's are subtracted) the time of two devices is half."""
    times = []
    for tp in (4, 8):
        pool = pool_of(model, "dgx_h100", {"tensor": {"tp": tp}}, NO_OVERHEAD)
        timer = pool.settings.timer.compile(pool.tasks[0])
        column = {
            "decodes": 1, "context_tokens": 100, "sampled": 1, "capped_1": 0, "capped_2": 0,
            "prefills": 0, "prefill_tokens": 0, "prefill_pairs": 0, "prefill_kv_tokens": 0,
            "capped_pairs_1": 0, "capped_pairs_2": 0,
        }  # fmt: skip
        causes = timer.breakdown({k: np.array([[v]]) for k, v in column.items()})
        times.append(float(causes["linear_s"][0, 0]))
    assert times[1] / times[0] == pytest.approx(0.5, rel=0.02)


@given(experts=st.integers(2, 64), top_k=st.integers(1, 8), tokens=st.integers(1, 40))
def test_expected_distinct_experts_lie_between_those_of_one_token_and_all(
    experts: int, top_k: int, tokens: int
) -> None:
    k = min(top_k, experts)
    reached = float(touched(experts, k, np.array([tokens]))[0])
    assert k - 1e-9 <= reached <= min(experts, k * tokens) + 1e-9


@pytest.mark.parametrize(("experts", "top_k", "tokens"), [(8, 2, 3), (128, 8, 16), (256, 8, 64)])
def test_expected_distinct_experts_are_those_of_a_lottery(
    experts: int, top_k: int, tokens: int
) -> None:
    """Against 400 draws of `tokens` tokens that each choose `top_k` different experts."""
    rng = np.random.default_rng(tokens)
    counts = []
    for _ in range(400):
        chosen = rng.random((tokens, experts)).argsort(axis=1)[:, :top_k]
        counts.append(len(np.unique(chosen)))
    theory = float(touched(experts, top_k, np.array([tokens]))[0])
    mean, error = float(np.mean(counts)), float(np.std(counts, ddof=1) / 20)
    print(f"\n{tokens} tokens, {top_k} of {experts}: theory {theory:.3f}, drawn {mean:.3f}")
    assert abs(mean - theory) <= 5 * error + 1e-9


# ---- pipelines


STAGES, STEP_S = 4, 1.0


def pipeline(asks: Sequence[Ask], stages: int = STAGES, tokens: int = 16, **engine: Any) -> Run:
    limits = {"max_num_seqs": 16, "max_num_batched_tokens": tokens}
    pool = {
        "layout": {"tensor": {"pp": stages}},
        "timer": steady(STEP_S),
        "engine": limits | engine,
    }
    return play_asks(asks, topology="dgx_h100", pools={"serve": pool})


def test_a_lone_pass_goes_through_all_stages() -> None:
    """A stage takes a quarter of the step; nobody is in the way."""
    run = pipeline([Ask(0.0, 16, 3)])
    assert run.table("clock")["end_s"].tolist() == pytest.approx([1.0, 2.0, 3.0])
    assert run.table("steps")["pipeline_s"].sum() == pytest.approx(0.0, abs=1e-12)


def test_a_saturated_pipeline_ends_a_pass_every_stage_time() -> None:
    """As many sequences as slots, decoding for long: after the pipeline has filled, one of the
    slots ends a pass every quarter of a step."""
    run = pipeline([Ask(0.0, 4, 60) for _ in range(STAGES)], tokens=4, max_num_seqs=4)
    ends = np.sort(run.table("clock")["end_s"].to_numpy())
    middle = ends[(ends > 15) & (ends < 45)]
    gaps = np.diff(middle)
    print(f"\ngaps between passes: {gaps.min():.4f} … {gaps.max():.4f} s, stage {STEP_S / STAGES}")
    assert gaps == pytest.approx(np.full(len(gaps), STEP_S / STAGES))


@pytest.mark.parametrize("chunks", [1, 2, 4, 8])
def test_a_prompt_in_m_chunks_takes_m_plus_s_minus_1_stage_times(chunks: int) -> None:
    """Chunks of one prompt follow each other through the stages (Sarathi, GPipe): with equal
    stages the last ends after (m + s − 1) stage times, so the bubble (s − 1)/(m + s − 1)
    shrinks with m."""
    run = pipeline([Ask(0.0, 16 * chunks, 1)])
    (request,) = run.requests.to_dict("records")
    expected = (chunks + STAGES - 1) * STEP_S / STAGES
    assert request["first_token_s"] == pytest.approx(expected)


@pytest.mark.parametrize("batcher", ["chunked_prefill", "prefill_first", "static"])
def test_no_stage_serves_two_passes_at_once(batcher: str) -> None:
    """Passes end in the order in which they began, a stage time apart at least."""
    asks = [Ask(0.3 * i, 5 + 7 * i % 40, 3 + i % 9) for i in range(12)]
    run = pipeline(asks, batcher=batcher)
    steps = run.table("steps")
    assert (steps["n"] >= 1).all()
    ends = np.sort(run.table("clock")["end_s"].to_numpy())
    assert (np.diff(ends) >= STEP_S / STAGES - 1e-9).all()


def test_a_long_prompt_does_not_delay_those_already_decoding_by_more_than_its_chunks() -> None:
    """Chunked prefill bounds the stall: with a time per token, no decode step takes longer than
    one with a full budget."""
    engine = {"max_num_seqs": 4, "max_num_batched_tokens": 32}
    pools = {"serve": {"timer": steady(0.01, 0.001), "engine": engine}}
    run = play_asks([Ask(0.0, 4, 100), Ask(0.2, 2000, 2)], pools=pools)
    steps = run.table("steps")
    decoding = steps[steps["decodes"] > 0]
    longest = ((decoding["end_s"] - decoding["start_s"]) / decoding["n"]).max()
    assert longest == pytest.approx(0.01 + 32 * 0.001)
    whole = play_asks(
        [Ask(0.0, 4, 100), Ask(0.2, 2000, 2)],
        pools={"serve": pools["serve"] | {"engine": engine | {"batcher": "prefill_first"}}},
    ).table("steps")
    assert whole["prefill_gap_s"].max() > 1.5


@pytest.mark.parametrize("ranks", [2, 4])
def test_lockstep_ranks_wait_for_the_slowest(ranks: int) -> None:
    """One rank decodes, the others run dummy passes: all rows of a step end together, and the
    idle ranks' time is waiting."""
    pool = {"layout": {"dp_attention": {"dp": ranks}}}
    run = play(serving(generated(1, 10, 20, "at_once"), model="qwen3-30b-a3b",
                       topology="dgx_h100", pools={"serve": pool}))  # fmt: skip
    steps = run.table("steps")
    for _, rows in steps.groupby("first_step"):
        assert rows["end_s"].nunique() == 1
        idle = rows[(rows["decodes"] == 0) & (rows["prefill_tokens"] == 0)]
        assert len(idle) == ranks - 1
        assert (idle["rank_wait_s"] > 0).all()
        assert rows["rank_wait_s"].min() == 0.0
