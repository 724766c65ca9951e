"""Bytes of checkpoints in given formats, against published sizes (MX-2)."""

from __future__ import annotations

import pytest

from sim.catalog.checkpoint import checkpoint_bytes, mtp_bytes, mtp_params
from sim.catalog.counting import embedding_params, total_params
from sim.catalog.formats import load_format
from sim.catalog.model import load_model
from sim.catalog.presets import mixture_of_recursions

R1 = "deepseek-r1"


def test_mx_2_r1_in_fp8_is_640_gib_with_its_draft_layer() -> None:
    block = load_format("fp8_block")
    stored = checkpoint_bytes(load_model(R1), block) + mtp_bytes(load_model(R1), block)
    assert stored / 2**30 == pytest.approx(640, rel=0.05)


def test_mx_2_r1_with_nvfp4_experts_is_400_gib_and_the_rest_in_bf16() -> None:
    model = load_model(R1)
    stored = checkpoint_bytes(model, load_format("bf16"), load_format("nvfp4"))
    assert (stored + mtp_bytes(model, "bf16")) / 2**30 == pytest.approx(400, rel=0.05)
    assert stored / 1e9 == pytest.approx(400, rel=0.05)


def test_the_draft_layer_of_v3_has_11_5_billion_parameters_of_its_own() -> None:
    assert mtp_params(load_model("deepseek-v3")) == pytest.approx(11.5e9, rel=0.01)
    assert mtp_params(load_model("llama-3.1-8b")) == 0
    assert mtp_bytes(load_model("llama-3.1-8b"), "bf16") == 0


def test_the_draft_layer_of_a_hybrid_is_one_attention_and_one_of_experts() -> None:
    """Nemotron 3 Super: 512 experts of 2 · 1024 · 2688 and what is around them."""
    assert mtp_params(load_model("nemotron-3-super")) == pytest.approx(2.95e9, rel=0.02)


@pytest.mark.parametrize("name", ["llama-3.1-8b", "gpt-oss-120b", "nemotron-3-nano"])
def test_all_in_16_bits_is_two_bytes_a_parameter(name: str) -> None:
    model = load_model(name)
    assert checkpoint_bytes(model, load_format("bf16")) == 2.0 * total_params(model)


def test_an_8_bit_format_leaves_embedding_head_and_norms_in_16() -> None:
    model = load_model("llama-3.1-8b")
    wide = embedding_params(model) + (2 * 32 + 1) * 4096
    assert checkpoint_bytes(model, load_format("fp8")) == total_params(model) + wide


def test_shared_weights_are_stored_once() -> None:
    model = load_model("llama-3.1-8b")
    again = mixture_of_recursions(model, 0, 31, [0.5, 0.5])
    fp8 = load_format("fp8")
    assert checkpoint_bytes(again, fp8) == checkpoint_bytes(model, fp8)
