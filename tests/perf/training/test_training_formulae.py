"""Parameters, operations and bytes of training: published formulae, to their last digit."""

from __future__ import annotations

import pytest

from sim.catalog.gpu import load_gpu
from sim.catalog.model import DenseFfn, GroupedAttention, Layer, Model, load_model
from sim.perf.training import MEGATRON_2021, MicroBatch, Recipe, TrainingLayout, step_flops
from sim.perf.training.gpt import Gpt, training_days
from sim.perf.training.memory import layer_activations, training_memory, zero_bytes
from sim.perf.training.schedules import in_flight
from sim.perf.training.sizes import lora_params, stages_of
from sim.perf.training.update import best_gpu_share, interleaved_update_s, zero_traffic

SIZES = [
    (1.7, 24, 2304), (3.6, 30, 3072), (7.5, 36, 4096), (18.4, 40, 6144), (39.1, 48, 8192),
    (76.1, 60, 10240), (145.6, 80, 12288), (310.1, 96, 16384), (529.6, 105, 20480),
    (1008.0, 128, 25600),
]  # fmt: skip
"""10⁹ parameters, layers, width: arXiv 2104.04473, table 1."""

SECONDS = [
    (24, 2304, 512, 32, 137, 3.53), (30, 3072, 512, 64, 138, 3.70),
    (36, 4096, 512, 128, 142, 3.70), (40, 6144, 1024, 256, 135, 9.40),
    (48, 8192, 1536, 512, 138, 14.45), (60, 10240, 1792, 1024, 140, 16.06),
    (96, 16384, 2160, 1920, 155, 37.61), (128, 25600, 3072, 3072, 163, 102.63),
]  # fmt: skip
"""Layers, width, sequences, GPUs, printed TFLOP/s per GPU, F/(n·X) in seconds."""


def gpt(layers: int, hidden: int, heads: int, vocab: int = 51200) -> Model:
    layer = Layer(
        GroupedAttention(heads, heads, hidden // heads, qkv_bias=True, o_bias=True),
        DenseFfn(4 * hidden, gated=False, bias=True),
    )
    return Model("gpt", hidden, vocab, (layer,) * layers, True, 2048, "a test")


@pytest.mark.parametrize("billions, layers, hidden", SIZES)
def test_parameters_of_the_ten_megatron_models(billions: float, layers: int, hidden: int) -> None:
    assert Gpt(layers, hidden).params / 1e9 == pytest.approx(billions, abs=0.06)


@pytest.mark.parametrize("layers, hidden, batch, gpus, tflops, seconds", SECONDS)
def test_operations_of_an_iteration(
    layers: int, hidden: int, batch: int, gpus: int, tflops: int, seconds: float
) -> None:
    flops = Gpt(layers, hidden).flops(batch)
    assert flops / (gpus * tflops * 1e12) == pytest.approx(seconds, abs=0.006)


def test_the_closed_form_is_the_expanded_equation() -> None:
    n, h, s, v, b = 96, 12288, 2048, 51200, 1536
    whole = 96 * b * s * n * h * h * (1 + s / (6 * h) + v / (16 * n * h))
    assert Gpt(n, h).flops(b) == pytest.approx(whole, rel=1e-12)


def test_days_of_training_gpt3() -> None:
    """arXiv 2104.04473, section 5.1: 175B, 300B tokens, 1,024 GPUs at 140 TFLOP/s: 34 days."""
    assert training_days(175e9, 300e9, 1024, 140e12) == pytest.approx(34, abs=0.5)


def test_counting_a_catalog_gpt_is_megatrons_equation() -> None:
    made, tokens, squares = gpt(24, 2304, 24), 512 * 2048, 512 * 2048**2
    full = step_flops(made, MEGATRON_2021, tokens, squares)
    assert full.hardware == pytest.approx(Gpt(24, 2304).flops(512), rel=1e-12)
    assert full.model == pytest.approx(Gpt(24, 2304).flops(512, recompute=False), rel=1e-12)


def test_selective_recomputation_repeats_the_scores_only() -> None:
    made, s, h = gpt(24, 2304, 24), 2048, 2304
    recipe = Recipe(recompute="selective", attention="unfused")
    flops = step_flops(made, recipe, s, s * s)
    assert flops.hardware - flops.model == pytest.approx(24 * 4 * s * s * h)


def test_a_mixture_of_experts_computes_its_active_weights() -> None:
    """6 operations per active parameter and token, embedding apart, and those of attention."""
    moe = load_model("qwen3-30b-a3b")
    flops = step_flops(moe, Recipe(), 1.0, 0.0).model
    assert flops / 6 == pytest.approx(3.345e9 - moe.vocab * moe.hidden, rel=0.01)


def test_adapters_leave_out_the_gradients_of_frozen_weights() -> None:
    dense = load_model("llama-3.1-8b")
    full, lora = (
        step_flops(dense, Recipe(method=m, lora_rank=16), 1e4, 0.0).model for m in ("full", "lora")
    )
    extra = 6e4 * lora_params(dense, 16)
    assert lora == pytest.approx(2 / 3 * full + extra)


def test_two_forwards_are_a_zeroth_order_step() -> None:
    dense = load_model("llama-3.1-8b")
    full, zeroth = (
        step_flops(dense, Recipe(method=m), 1e4, 1e7).hardware for m in ("full", "zeroth_order")
    )
    assert zeroth == pytest.approx(2 / 3 * full)


@pytest.mark.parametrize("stage, gigabytes", [(0, 120), (1, 31.4), (2, 16.6), (3, 1.9)])
def test_zero_divides_the_model_states(stage: int, gigabytes: float) -> None:
    """arXiv 1910.02054, figure 1: 7.5B parameters over 64 replicas."""
    assert zero_bytes(7.5e9, stage, 64) / 1e9 == pytest.approx(gigabytes, abs=0.05)
    assert zero_traffic(7.5e9, stage) == (3 if stage == 3 else 2) * 7.5e9


@pytest.mark.parametrize("stage", [0, 1, 2, 3])
def test_a_trainer_holds_what_zero_says(stage: int) -> None:
    model, layout = load_model("llama-3.1-8b"), TrainingLayout(dp=64)
    recipe = Recipe(zero=stage, gradient_bytes=2)
    held = training_memory(model, layout, recipe, load_gpu("h100"), MicroBatch((16,)), 1)
    states = held.weight_bytes + held.gradient_bytes + held.optimizer_bytes
    params = stages_of(layout, model, recipe)[0].held.total
    assert states == pytest.approx(zero_bytes(params, stage, 64), rel=1e-9)


@pytest.mark.parametrize("t", [1, 8])
@pytest.mark.parametrize("parallel, selective", [(0, 0), (1, 0), (0, 1), (1, 1)])
def test_activations_of_a_gpt_layer(t: int, parallel: int, selective: int) -> None:
    """arXiv 2205.05198: equations 2 and 4, and 6 with selective recomputation."""
    if parallel and t == 1:
        parallel = 0
    s, b, h, a = 2048, 4, 6144, 64
    layout = TrainingLayout(tp=t, sequence_parallel=bool(parallel))
    recompute = "selective" if selective else "none"
    recipe = Recipe(attention="unfused", dropout=True, recompute=recompute)
    layer = gpt(1, h, a).layers[0]
    scores = 0.0 if selective else 5 * a * s / (h * t)
    one = (34 / t if parallel or t == 1 else 10 + 24 / t) + scores
    kept = layer_activations(layer, h, layout, recipe, MicroBatch((s,) * b))
    assert kept == pytest.approx(s * b * h * one, rel=1e-12)


def test_interleaving_keeps_more_micro_batches_in_flight() -> None:
    """arXiv 2205.05198, section 4.1: factor 1 + (p − 1)/(p·v) in the first stage."""
    p, v = 8, 3
    assert in_flight("1f1b", p, 128) == p
    assert in_flight("interleaved", p, 128, v) == pytest.approx(p * (1 + (p - 1) / (p * v)))
    assert in_flight("gpipe", p, 128) == 128


def test_an_offloaded_update_is_split_where_both_sides_take_as_long() -> None:
    share = best_gpu_share(1e9, 24e9)
    assert share == pytest.approx(0.5)
    times = [interleaved_update_s(1e10, 1e9, 24e9, x) for x in (share - 0.1, share, share + 0.1)]
    assert min(times) == times[1]
