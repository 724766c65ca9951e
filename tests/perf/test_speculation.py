"""Speculation: what is accepted, what drafting costs, and when it pays."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import pytest
from helpers import generated, planned, serving
from pydantic import ValidationError

from sim.catalog.checkpoint import mtp_params
from sim.catalog.model import load_model
from sim.errors import ScenarioError
from sim.perf.acceptances.by_position import ByPosition
from sim.perf.acceptances.decay import Decay
from sim.perf.acceptances.iid import Iid
from sim.perf.acceptances.measured import Measured
from sim.perf.acceptances.relaxed import Relaxed
from sim.perf.drafts.draft_model import DraftModel
from sim.perf.drafts.eagle import Eagle
from sim.perf.drafts.mtp import Mtp
from sim.perf.drafts.ngram import Ngram
from sim.perf.drafts.none import NoDraft
from sim.perf.speculation.acceptance import (
    CHUNK,
    Tree,
    acceptance_length,
    distribution,
    iid_length,
    latent_runs,
    survival,
    tree_paths,
    tree_survival,
)
from sim.perf.speculation.choice import chosen, length_of
from sim.perf.speculation.fitting import fit_decay
from sim.perf.speculation.host import SpeculationHost, speculation_host
from sim.perf.speculation.memory import draft_weight_bytes, with_draft
from sim.perf.speculation.price import compile_speculation
from sim.rng import Draws
from sim.scenario.pools import PoolPlan
from sim.search.pricing import decode_shapes

# --- acceptance --------------------------------------------------------------------------------

GOLDEN = {
    0.6: (1.600, 2.176, 2.383, 2.458),
    0.7: (1.700, 2.533, 2.941, 3.141),
    0.8: (1.800, 2.952, 3.689, 4.161),
    0.9: (1.900, 3.439, 4.686, 5.695),
}
"""Tokens per step for 1, 3, 5, 7 drafts (references, systems.md B.17.4: exact)."""


@pytest.mark.parametrize("rate", GOLDEN)
def test_one_rate_gives_the_closed_form(rate: float) -> None:
    for drafts, length in zip((1, 3, 5, 7), GOLDEN[rate], strict=True):
        assert iid_length(rate, drafts) == pytest.approx(length, abs=6e-4)
        summed = acceptance_length(survival(Iid(rate=rate), drafts))
        assert summed == pytest.approx(iid_length(rate, drafts), rel=1e-12)
    assert iid_length(1.0, 5) == 6.0


@pytest.mark.parametrize("law", [Iid(rate=0.7), Decay(first=0.9, decay=0.8), ByPosition(at=(0.5,))])
def test_chances_of_all_counts_sum_to_one_and_have_the_mean(law: Any) -> None:
    survived = survival(law, 6)
    chances = distribution(survived)
    assert chances.min() >= 0
    assert chances.sum() == pytest.approx(1.0)
    assert 1 + chances @ np.arange(7) == pytest.approx(acceptance_length(survived))


def test_drawn_runs_have_the_law_of_the_acceptance() -> None:
    """Each count's share lies within four standard errors of its chance (one draw in 16,000 would
    not), and so does the mean."""
    law, draws = Decay(first=0.8, decay=0.9), Draws(7, "acceptance")
    survived = survival(law, 8)
    chunks = [(request, chunk) for request in range(50) for chunk in range(10)]
    runs = np.concatenate([latent_runs(survived, draws, *at) for at in chunks])
    chances = distribution(survived)
    shares = np.bincount(runs, minlength=9) / len(runs)
    error = np.sqrt(chances * (1 - chances) / len(runs))
    assert (np.abs(shares - chances) <= 4 * error).all()
    variance = chances @ np.arange(9) ** 2 - (chances @ np.arange(9)) ** 2
    mean = acceptance_length(survived) - 1
    assert abs(runs.mean() - mean) <= 4 * np.sqrt(variance / len(runs))


def test_a_run_does_not_depend_on_how_many_are_drafted_nor_on_other_draws() -> None:
    draws, law = Draws(1, "acceptance"), Iid(rate=0.75)
    long, short = (latent_runs(survival(law, k), draws, 3, 2) for k in (32, 4))
    assert len(long) == CHUNK
    assert np.minimum(long, 4).tolist() == short.tolist()
    assert long.tolist() == latent_runs(survival(law, 32), draws, 3, 2).tolist()
    assert long.tolist() != latent_runs(survival(law, 32), draws, 3, 3).tolist()


def test_measured_lengths_come_back_and_noise_in_them_never_raises_a_chance() -> None:
    r1 = Measured(lengths=(1.0, 1.92, 2.58, 2.82, 2.99, 3.01))
    for drafts, length in enumerate(r1.lengths[1:], start=1):
        assert acceptance_length(survival(r1, drafts)) == pytest.approx(length)
    noisy = survival(Measured(lengths=(1.0, 1.8, 2.3, 2.25, 2.9)), 6)
    assert (np.diff(noisy) <= 0).all()
    assert noisy.min() >= 0


@pytest.mark.parametrize("lengths", [(1.1, 1.9), (1.0, 2.3), (1.0, 0.9)])
def test_lengths_that_no_step_can_give_are_refused(lengths: tuple[float, ...]) -> None:
    with pytest.raises(ValidationError, match="write"):
        Measured(lengths=lengths)


def test_relaxed_acceptance_lengthens_by_its_factor_at_its_draft_length() -> None:
    strict = Measured(lengths=(1.0, 1.92, 2.58, 2.82))
    relaxed = Relaxed(of=strict, multiplier=1.1, draft_tokens=3)
    assert length_of_law(relaxed, 3) == pytest.approx(1.1 * 2.82)
    assert (relaxed.rates(3) >= strict.rates(3)).all()
    with pytest.raises(ValidationError, match="write a smaller one"):
        Relaxed(of=strict, multiplier=1.5, draft_tokens=3)


def length_of_law(law: Any, drafts: int) -> float:
    return acceptance_length(survival(law, drafts))


ZERO, THINK = {3: 3.32, 5: 4.35, 7: 5.06}, {3: 2.77, 5: 3.23, 7: 3.48}
"""EAGLE-3 on Qwen3-8B in RL (arXiv 2604.26779; references, core-papers.md RL-4)."""


def test_one_rate_reproduces_the_lengths_of_rl_rollouts() -> None:
    for rate, curve in ((0.87, ZERO), (0.75, THINK)):
        for drafts, length in curve.items():
            assert iid_length(rate, drafts) == pytest.approx(length, rel=0.035)


def test_two_figures_fitted_to_some_lengths_give_the_others() -> None:
    """8B: 5 drafts from 3 and 7. DeepSeek-R1 with MTP (core-papers.md, companion data): 2 and 4
    from 1, 3 and 5."""
    for curve in (ZERO, THINK):
        law = fit_decay({k: curve[k] for k in (3, 7)})
        assert length_of_law(law, 5) == pytest.approx(curve[5], rel=0.02)
    r1 = {1: 1.92, 2: 2.58, 3: 2.82, 4: 2.99, 5: 3.01}
    law = fit_decay({k: r1[k] for k in (1, 3, 5)})
    for drafts in (2, 4):
        assert length_of_law(law, drafts) == pytest.approx(r1[drafts], rel=0.03)
    with pytest.raises(ScenarioError, match="two"):
        fit_decay({3: 2.5})


def test_a_tree_of_one_candidate_is_a_chain() -> None:
    law = Decay(first=0.8, decay=0.95)
    assert tree_survival(law, Tree.chain(5)).tolist() == survival(law, 5).tolist()


def test_a_tree_verifies_every_path_after_the_one_that_it_prolongs() -> None:
    paths = tree_paths(Tree(5, 3, 20))
    assert len(set(paths)) == 19
    for at, path in enumerate(paths):
        assert len(path) == 1 or path[:-1] in paths[:at]


def test_more_of_a_tree_never_gives_fewer_tokens_and_a_perfect_draft_all_of_its_depth() -> None:
    law = Decay(first=0.7, decay=0.9)
    lengths = [acceptance_length(tree_survival(law, Tree(4, 3, n))) for n in range(2, 40)]
    assert (np.diff(lengths) > 0).all()
    assert acceptance_length(tree_survival(Iid(rate=1.0), Tree(4, 3, 40))) == 5.0
    survived = tree_survival(law, Tree(4, 3, 40))
    assert (np.diff(survived) <= 0).all()
    assert survived[0] <= 1.0


# --- price -------------------------------------------------------------------------------------

NO_HOST = SpeculationHost()
EAGLE = Eagle(acceptance=Iid(rate=0.75))


@cache
def pool_of(model: str, topology: str, layout: str, overlap: str = "none") -> PoolPlan:
    layouts: dict[str, Any] = {
        "tp8": {"tensor": {"tp": 8}}, "dp8": {"dp_attention": {"dp": 8}},
        "helix": {"helix": {"kvp": 2, "tpa": 4}}, "pp2": {"tensor": {"pp": 2}},
    }  # fmt: skip
    engine = {"max_num_batched_tokens": 1024, "max_num_seqs": 256}
    pool = {"layout": layouts.get(layout, layout), "overlap": overlap, "engine": engine}
    tree = serving(
        generated(1, 1, 1, "at_once"), model=model, topology=topology, pools={"serve": pool}
    )
    return planned(tree).pools[0]


def compiled(pool: PoolPlan, draft: Any, drafts: int) -> Any:
    return compile_speculation(draft, drafts, pool.settings.timer, pool.tasks[0])


KINDS = [
    ("llama-3.1-8b", "single_gpu", "single", "none"),
    ("deepseek-v3", "hgx_h200", "dp8", "none"),
    ("deepseek-v3", "hgx_h200", "dp8", "dual_batches"),
    ("gpt-oss-120b", "dgx_h100", "tp8", "none"),
    ("llama-3.1-70b", "dgx_h100", "helix", "none"),
]


@pytest.mark.parametrize("kind", KINDS, ids="-".join)
def test_steps_without_drafts_cost_what_plain_steps_cost(kind: tuple[str, ...]) -> None:
    pool = pool_of(*kind)
    bare = replace(compiled(pool, NoDraft(), 0), engine_host=NO_HOST)
    timer = pool.settings.timer.compile(pool.tasks[0])
    batch = np.array([1, 8, 100])
    shapes = decode_shapes(timer, batch, np.full(3, 2000.0), pool.spread.ranks)
    plain = timer.seconds(shapes)
    if kind[3] == "none":
        assert bare.seconds(shapes) == pytest.approx(plain, rel=1e-12)
    else:  # a batch that an engine would not divide is divided here
        assert (bare.seconds(shapes) >= plain * (1 - 1e-12)).all()


@pytest.mark.parametrize("kind", KINDS, ids="-".join)
def test_causes_of_a_verify_step_add_up_to_it(kind: tuple[str, ...]) -> None:
    pool = pool_of(*kind)
    timer = compiled(pool, EAGLE, 3)
    shapes = decode_shapes(timer, np.array([0, 1, 64]), np.full(3, 500.0), pool.spread.ranks)
    causes = timer.breakdown(shapes)
    whole = sum(causes.values())
    assert whole.max(axis=1) == pytest.approx(timer.seconds(shapes), rel=1e-9)
    assert causes["draft_s"][0].max() == 0.0
    assert (causes["draft_s"][1:] > 0).all()


def test_verifying_reads_the_keys_once_whatever_it_verifies() -> None:
    """Grouped attention at long contexts is bound by reading: four queries cost as one. Latent
    attention of 128 heads is bound by arithmetic: four cost several times as much."""
    context = np.array([30_000.0])

    def attention(kind: tuple[str, str, str], tokens: int) -> float:
        pool = pool_of(*kind)
        timer = compiled(pool, NoDraft(), 0).drafting(Tree.chain(tokens - 1))
        shapes = decode_shapes(timer, np.array([16]), context, pool.spread.ranks)
        return float(timer.breakdown(shapes)["attention_s"].max())

    grouped, latent = ("llama-3.1-8b", "single_gpu", "single"), ("deepseek-v3", "hgx_h200", "dp8")
    assert attention(grouped, 4) == pytest.approx(attention(grouped, 1), rel=0.01)
    assert attention(latent, 8) > 2 * attention(latent, 1)


def gain(pool: PoolPlan, draft: Any, drafts: int, batch: int) -> float:
    plain = pool.settings.timer.compile(pool.tasks[0])
    at = decode_shapes(plain, np.array([batch]), np.array([1000.0]), pool.spread.ranks)
    return chosen(
        replace(draft, draft_tokens=drafts), pool.settings.timer, pool.tasks[0], plain, at
    ).speedup(plain, at)


def test_the_gain_falls_with_the_batch_and_long_drafts_turn_into_a_loss() -> None:
    pool = pool_of("llama-3.1-8b", "single_gpu", "single")
    gains = [gain(pool, EAGLE, 7, batch) for batch in (1, 32, 64, 128)]
    assert gains[0] > 1.5
    assert gains[1] > gains[2] > gains[3]
    poor = Eagle(acceptance=Iid(rate=0.3))
    assert gain(pool, poor, 7, 128) < 1.0


def test_the_best_draft_length_falls_with_the_batch() -> None:
    pool = pool_of("llama-3.1-8b", "single_gpu", "single")
    plain = pool.settings.timer.compile(pool.tasks[0])
    draft = Eagle(acceptance=Iid(rate=0.75), draft_tokens="auto")
    best = {}
    for batch in (1, 110):
        at = decode_shapes(plain, np.array([batch]), np.array([1000.0]))
        made = chosen(draft, pool.settings.timer, pool.tasks[0], plain, at)
        best[batch] = made.timer.draft_tokens
        by_length = [gain(pool, EAGLE, k, batch) for k in range(1, 9)]
        assert made.speedup(plain, at) == pytest.approx(max(by_length))
    assert best[1] > best[110]


def test_more_passes_of_a_draft_cost_more_and_a_small_model_less_than_a_large_one() -> None:
    pool = pool_of("llama-3.1-70b", "dgx_h100", "tp8")
    shapes = decode_shapes(compiled(pool, EAGLE, 1), np.array([8]), np.array([1000.0]))

    def drafting(draft: Any, drafts: int) -> float:
        return float(compiled(pool, draft, drafts).draft_s(shapes)[0])

    eagle = [drafting(EAGLE, k) for k in (1, 2, 3, 4)]
    steps = np.diff(eagle)
    assert steps == pytest.approx(steps[0], rel=0.02)  # the first pass sees one token more
    assert steps[0] > 0
    small, large = (
        drafting(DraftModel(model=m, acceptance=Iid(rate=0.7)), 3)
        for m in ("qwen3-8b", "qwen3-14b")
    )
    assert eagle[2] < small < large
    assert drafting(Ngram(acceptance=Iid(rate=0.4)), 3) == 0.0


def test_prompt_lookup_in_large_rollout_batches_is_slower_than_plain_decoding() -> None:
    """NeMo RL, Qwen3-8B on GB200 with vLLM: 2.05 tokens a step and yet slower (RL-7)."""
    pool = pool_of("qwen3-8b", "gb200_nvl72", "single")
    law = Iid(rate=0.565)
    draft = Ngram(acceptance=law, draft_tokens=3)
    assert length_of(draft, 3) == pytest.approx(2.05, abs=0.02)
    assert gain(pool, draft, 3, 200) < 1.0 < gain(pool, draft, 3, 1)


def test_in_a_pipeline_the_verify_pass_goes_through_the_stages_and_the_draft_follows() -> None:
    pool = pool_of("llama-3.1-8b", "dgx_h100", "pp2")
    timer = compiled(pool, EAGLE, 3)
    shapes = decode_shapes(timer, np.array([4]), np.full(1, 500.0))
    first, last = (float(x[0]) for x in timer.stage_seconds(shapes))
    assert first + last == pytest.approx(float(timer.seconds(shapes)[0]))
    bare = compiled(pool, Ngram(acceptance=Iid(rate=0.7), step_s=0.0, sequence_s=0.0), 3)
    drafting = float(timer.draft_s(shapes)[0])
    assert drafting > 0
    assert last == pytest.approx(float(bare.stage_seconds(shapes)[1][0]) + drafting)
    whole = compiled(pool_of("llama-3.1-8b", "single_gpu", "single"), EAGLE, 3)
    assert drafting == pytest.approx(float(whole.draft_s(shapes)[0]), rel=0.05)


def test_targets_without_what_a_draft_needs_are_refused() -> None:
    with pytest.raises(ScenarioError, match="multi-token-prediction"):
        compiled(pool_of("llama-3.1-8b", "single_gpu", "single"), Mtp(acceptance=Iid(rate=0.8)), 3)


@pytest.mark.parametrize(
    "wrong", [{"topk": 3, "draft_tokens": "auto"}, {"verify_tokens": 9}, {"draft_tokens": 0}]
)
def test_trees_that_cannot_be_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Eagle(acceptance={"iid": 0.7}, **wrong)


def test_an_engine_without_figures_says_so() -> None:
    assert speculation_host("vllm-0.24").source.startswith("extrapolated")
    assert speculation_host("sglang-0.5").source.startswith("fitted")
    assert speculation_host(None).step_s(8, 1) == 0.0


# --- memory ------------------------------------------------------------------------------------


def test_an_eagle_draft_has_the_weights_of_its_matrices() -> None:
    """Llama-3.1-8B, EAGLE-3: 2h-wide q, k, v and o, three of the feed-forward, 3h → h, a head of
    32,000."""
    pool = pool_of("llama-3.1-8b", "single_gpu", "single")
    work = EAGLE.drafting(pool.model, pool.formats)
    h = 4096
    numbers = 2 * h * (4096 + 2048) + h * h + 3 * h * 14336 + 3 * h * h + 32_000 * h
    assert draft_weight_bytes(work, pool.spread) == pytest.approx(2 * numbers, rel=1e-3)


def test_mtp_layers_have_the_weights_of_the_catalog() -> None:
    model = load_model("deepseek-v3")
    pool = pool_of("llama-3.1-8b", "single_gpu", "single")
    formats = replace(pool.formats, weights=pool.formats.weights, experts=pool.formats.weights)
    work = Mtp(acceptance=Iid(rate=0.9)).drafting(model, formats)
    assert draft_weight_bytes(work, pool.spread) == pytest.approx(2 * mtp_params(model), rel=1e-3)


def test_a_draft_takes_weights_and_a_layer_of_kv_from_the_pool() -> None:
    pool = pool_of("llama-3.1-8b", "single_gpu", "single")
    work = EAGLE.drafting(pool.model, pool.formats)
    made = with_draft(pool.memory, work, pool.spread, 16)
    weights = draft_weight_bytes(work, pool.spread)
    assert made.kv_bytes_per_token == pytest.approx(pool.memory.kv_bytes_per_token * 33 / 32)
    assert made.kv_bytes == pytest.approx(pool.memory.kv_bytes - weights)
    assert made.weight_bytes == pytest.approx(pool.memory.weight_bytes + weights)
    tokens = [m.units // m.groups[0].units for m in (pool.memory, made)]
    left = made.kv_bytes / pool.memory.kv_bytes * 32 / 33
    assert tokens[1] == pytest.approx(tokens[0] * left, rel=1e-3)
    full = replace(pool.memory, kv_bytes=weights, units=1)
    with pytest.raises(ScenarioError, match="smaller draft"):
        with_draft(full, work, pool.spread, 16)
