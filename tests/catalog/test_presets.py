"""Changes of architecture, and LatentMoE's table 1 (LM-4)."""

from __future__ import annotations

from dataclasses import replace

import pytest

from sim.catalog.counting import (
    active_params,
    expert_params,
    kv_bytes_held,
    kv_bytes_per_token,
    routed_params,
    state_bytes_per_sequence,
    total_params,
)
from sim.catalog.latent_moe import (
    Variant,
    active_expert_params,
    dispatch_elements,
    latent_moe,
    projection_flops_per_token,
    projection_params,
)
from sim.catalog.model import DenseFfn, Model, MoeFfn, NoAttention, NoFfn, load_model
from sim.catalog.presets import (
    mixture_of_recursions,
    parallel_scaling,
    searched,
    with_latent_experts,
    with_layers,
)
from sim.errors import ScenarioError

D = 4096
STANDARD = MoeFfn(experts=128, top_k=8, width=1536)


def llama() -> Model:
    return load_model("llama-3.1-8b")


# --- LatentMoE ---------------------------------------------------------------------------------


@pytest.mark.parametrize("alpha", [1, 2, 4, 8])
def test_lm_4_the_accuracy_variant_moves_as_much_and_the_efficiency_variant_alpha_times_less(
    alpha: int,
) -> None:
    accurate, efficient = (latent_moe(STANDARD, D, alpha, v) for v in variants())
    assert dispatch_elements(accurate, D) == dispatch_elements(STANDARD, D)
    assert active_expert_params(accurate, D) == active_expert_params(STANDARD, D)
    assert alpha * dispatch_elements(efficient, D) == dispatch_elements(STANDARD, D)
    assert alpha * active_expert_params(efficient, D) == active_expert_params(STANDARD, D)


def variants() -> tuple[Variant, Variant]:
    return "accuracy", "efficiency"


def test_experts_of_a_latent_are_more_and_smaller() -> None:
    made = latent_moe(STANDARD, D, 4)
    assert (made.experts, made.top_k, made.latent) == (512, 32, 1024)
    assert made.experts * expert_params(made, D) == 128 * expert_params(STANDARD, D)
    assert projection_params(made, D) == 2 * D * 1024
    assert projection_flops_per_token(made, D) == 2 * 2 * D * 1024
    assert projection_params(STANDARD, D) == 0


def test_nemotron_3_super_is_a_latent_of_a_quarter() -> None:
    (moe,) = (x.ffn for x in load_model("nemotron-3-super").layer_counts if x.ffn != NoFfn())
    assert isinstance(moe, MoeFfn)
    assert (moe.latent, moe.gated, moe.shared_width) == (1024, False, 5376)
    assert dispatch_elements(moe, D) == 22 * 1024


def test_kimi_k2_in_a_latent_has_its_routed_parameters_and_the_projections() -> None:
    """alpha 4: latent 1792, 1536 experts, 32 a token."""
    plain = load_model("kimi-k2")
    made = with_latent_experts(plain, 4)
    moe = made.layers[-1].ffn
    assert isinstance(moe, MoeFfn)
    assert (moe.latent, moe.experts, moe.top_k) == (1792, 1536, 32)
    assert routed_params(made) == routed_params(plain)
    router = 3 * 384 * (7168 + 1)
    assert total_params(made) - total_params(plain) == 60 * (2 * 7168 * 1792 + router)
    assert made.layers[0] == plain.layers[0]


def test_what_cannot_be_put_in_a_latent_is_refused() -> None:
    with pytest.raises(ScenarioError, match="alpha: 3 does not divide the hidden size 4096"):
        latent_moe(STANDARD, D, 3)
    with pytest.raises(ScenarioError, match="already in a latent of 1024"):
        latent_moe(latent_moe(STANDARD, D, 4), D, 2)
    with pytest.raises(ScenarioError, match="has no experts"):
        with_latent_experts(llama(), 4)


# --- depth and searched blocks -----------------------------------------------------------------


def test_depth_repeats_or_cuts_the_last_layers() -> None:
    model = load_model("deepseek-v3")
    assert with_layers(model, 61).layers == model.layers
    assert list(with_layers(model, 70).layer_counts.values()) == [3, 67]
    assert list(with_layers(model, 5).layer_counts.values()) == [3, 2]
    with pytest.raises(ScenarioError, match="layers: 0"):
        with_layers(model, 0)


def test_searched_blocks_lose_kv_with_their_attention_and_parameters_with_their_width() -> None:
    parent = llama()
    child = searched(parent, without_attention=range(8), ffn_widths={3: 7168, 4: 0})
    assert kv_bytes_per_token(child) == kv_bytes_per_token(parent) * 24 / 32
    assert child.layers[0].attention == NoAttention()
    assert child.layers[3].ffn == DenseFfn(7168)
    assert child.layers[4].ffn == NoFfn()
    saved = 3 * 4096 * (7168 + 14336) + 4096
    attention = 8 * (2 * 4096 * 4096 + 2 * 4096 * 1024 + 4096)
    assert total_params(parent) - total_params(child) == saved + attention


def test_a_block_that_is_not_there_or_has_experts_is_refused() -> None:
    with pytest.raises(
        ScenarioError, match=r"layer 32 is none of llama-3\.1-8b, which has 0 to 31"
    ):
        searched(llama(), without_attention=[32])
    with pytest.raises(ScenarioError, match="only dense ones change width"):
        searched(load_model("qwen3-30b-a3b"), ffn_widths={0: 512})
    with pytest.raises(ScenarioError, match="feed-forward of -1"):
        searched(llama(), ffn_widths={0: -1})


# --- streams and recursions --------------------------------------------------------------------


@pytest.mark.parametrize("name", ["llama-3.1-8b", "nemotron-3-nano"])
def test_streams_multiply_kv_and_states_but_not_weights(name: str) -> None:
    one = load_model(name)
    four = parallel_scaling(one, 4)
    assert four.streams == 4
    assert total_params(four) == total_params(one)
    assert kv_bytes_per_token(four) == 4 * kv_bytes_per_token(one)
    assert state_bytes_per_sequence(four) == 4 * state_bytes_per_sequence(one)
    assert kv_bytes_held(four, 77) == 4 * kv_bytes_held(one, 77)
    with pytest.raises(ScenarioError, match="streams: 0"):
        parallel_scaling(one, 0)


def test_recursions_store_weights_once_and_kv_of_the_tokens_that_come_so_far() -> None:
    base = llama()
    made = mixture_of_recursions(base, 1, 30, [0.5, 0.25, 0.25])
    assert len(made.layers) == 2 + 3 * 30
    assert total_params(made) == total_params(base)
    assert active_params(made) == active_params(base)
    assert [made.layers[i].token_share for i in (0, 1, 31, 61, 91)] == [1, 1, 0.5, 0.25, 1]
    per_layer = kv_bytes_per_token(base) / 32
    assert kv_bytes_per_token(made) == pytest.approx(per_layer * (2 + 30 * 1.75))
    shared = mixture_of_recursions(base, 1, 30, [0.5, 0.25, 0.25], kv="shared")
    assert kv_bytes_per_token(shared) == pytest.approx(kv_bytes_per_token(base))


def test_one_recursion_changes_only_the_name() -> None:
    base = llama()
    made = mixture_of_recursions(base, 0, 31, [1.0])
    assert replace(made, name=base.name) == base


@pytest.mark.parametrize("shares", [[], [0.5, 0.4], [1.5, -0.5]])
def test_shares_that_are_no_distribution_are_refused(shares: list[float]) -> None:
    with pytest.raises(ScenarioError, match="depth_shares"):
        mixture_of_recursions(llama(), 0, 3, shares)


def test_a_stack_outside_the_model_is_refused() -> None:
    with pytest.raises(ScenarioError, match=r"layers 30 to 32 are none of llama-3\.1-8b"):
        mixture_of_recursions(llama(), 30, 32, [1.0])
