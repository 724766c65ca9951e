"""Where an expert is bound: the LatentMoE paper's running example (LM-1 to LM-3)."""

from __future__ import annotations

import pytest

from sim.catalog.latent_moe import latent_moe
from sim.catalog.model import MoeFfn
from sim.errors import ScenarioError
from sim.perf.ratios import (
    dispatch_bytes,
    dispatch_to_compute,
    expert_flops,
    expert_intensity,
    ridge,
    tokens_at_intensity,
    tokens_per_expert,
)

FP4_FLOPS, HBM, NVLINK = 10e15, 8e12, 900e9  # GB200 in arXiv 2601.18089, section 2
HIDDEN, WIDTH, EXPERTS, TOP_K, EP = 4096, 1536, 128, 8, 64  # Qwen3-235B-A22B


def test_lm_1_an_expert_is_bound_by_arithmetic_from_1418_tokens_on() -> None:
    assert ridge(FP4_FLOPS, HBM) == 1250
    assert tokens_at_intensity(1250, HIDDEN, WIDTH) == pytest.approx(1418.5, abs=0.5)


@pytest.mark.parametrize(
    ("tokens", "intensity"),
    [(16, 31.5), (64, 121.1), (256, 416.5), (1024, 1068.5), (4096, 1755.4)],
)
def test_lm_2_intensity_grows_with_tokens_per_expert(tokens: int, intensity: float) -> None:
    assert expert_intensity(tokens, HIDDEN, WIDTH) == pytest.approx(intensity, abs=0.051)
    assert tokens_at_intensity(expert_intensity(tokens, HIDDEN, WIDTH), HIDDEN, WIDTH) == (
        pytest.approx(tokens)
    )


def test_lm_3_dispatch_takes_nine_times_as_long_as_the_experts() -> None:
    assert dispatch_to_compute(FP4_FLOPS, NVLINK, WIDTH) == pytest.approx(9.04, abs=0.005)


def test_the_ratio_is_that_of_bytes_and_operations_whatever_the_tokens() -> None:
    for tokens in (1.0, 640.0):
        link_s = dispatch_bytes(EXPERTS, EP, tokens, HIDDEN) / NVLINK
        tensor_s = expert_flops(EXPERTS, EP, tokens, HIDDEN, WIDTH) / FP4_FLOPS
        ratio = dispatch_to_compute(FP4_FLOPS, NVLINK, WIDTH)
        assert link_s / tensor_s == pytest.approx(ratio)


def test_three_matrices_and_bytes_instead_of_elements_undo_the_papers_counting() -> None:
    assert dispatch_to_compute(FP4_FLOPS, NVLINK, WIDTH, matrices=3) == pytest.approx(
        9.04 / 3, 1e-3
    )
    in_bytes = expert_intensity(64, HIDDEN, WIDTH, bytes_per_element=0.5)
    assert in_bytes == 2 * expert_intensity(64, HIDDEN, WIDTH)


def test_tokens_are_dealt_evenly_and_a_latent_of_the_accuracy_kind_keeps_them_per_expert() -> None:
    moe = MoeFfn(EXPERTS, TOP_K, WIDTH)
    assert tokens_per_expert(1024, TOP_K, EXPERTS) == 64
    latent = latent_moe(moe, HIDDEN, 4)
    assert tokens_per_expert(1024, latent.top_k, latent.experts) == 64
    assert dispatch_bytes(latent.experts, EP, 64, HIDDEN // 4) == dispatch_bytes(
        EXPERTS, EP, 64, HIDDEN
    )


def test_an_intensity_beyond_the_experts_limit_is_refused_with_the_limit() -> None:
    """2·d·m / (d + m) = 2234 for 4096 × 1536."""
    with pytest.raises(ScenarioError, match="limit is 2234 operations"):
        tokens_at_intensity(2300, HIDDEN, WIDTH)
