"""A training step: what it costs, what makes it quicker or smaller, and what is refused."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sim.catalog.gpu import load_gpu
from sim.catalog.model import DenseFfn, GroupedAttention, Layer, Model, load_model
from sim.errors import ScenarioError
from sim.network.topology import Topology, load_topology
from sim.perf.training import (
    MEGATRON_2021,
    Offload,
    Recipe,
    Swap,
    Trainer,
    TrainingLayout,
    TrainingStep,
    even_batch,
    packed_batch,
    plan_step,
    trainer,
)
from sim.perf.training.gpt import Gpt

LLAMA, MOE = "llama-3.1-8b", "qwen3-30b-a3b"
FULL = Recipe(recompute="full")


@cache
def machine(nodes: int, name: str = "dgx_h100") -> Topology:
    return load_topology(name, nodes=nodes)


def step(layout: TrainingLayout, recipe: Recipe = FULL, model: str = LLAMA, **batch: int) -> Any:
    """A step on H100; `sequences`, `length`, `micro` of an even batch."""
    given_ = {"sequences": 64, "length": 4096, "micro": 1} | batch
    made = even_batch(given_["sequences"], given_["length"], given_["micro"], layout.dp)
    topology = machine(-(-layout.gpus // 8))
    known = load_model(model)
    return plan_step(known, load_gpu("h100"), topology, layout, made, recipe, check=False)


BASE = TrainingLayout(tp=2, pp=2, dp=4)


def gpt(layers: int, hidden: int, heads: int) -> Model:
    layer = Layer(
        GroupedAttention(heads, heads, hidden // heads, qkv_bias=True, o_bias=True),
        DenseFfn(4 * hidden, gated=False, bias=True),
    )
    return Model("gpt", hidden, 51200, (layer,) * layers, True, 2048, "a test")


@pytest.mark.parametrize(
    "layers, hidden, heads, tp, pp, gpus, batch, micro, chunks, published",
    [
        (24, 2304, 24, 1, 1, 32, 512, 16, 1, 137),
        (30, 3072, 32, 2, 1, 64, 512, 16, 1, 138),
        (36, 4096, 32, 4, 1, 128, 512, 16, 1, 142),
        (40, 6144, 48, 8, 1, 256, 1024, 8, 1, 135),
        (48, 8192, 64, 8, 2, 512, 1536, 4, 1, 138),
        (96, 16384, 128, 8, 16, 1920, 2160, 1, 2, 155),
    ],
)
def test_megatron_on_a100_within_a_tenth(
    layers: int, hidden: int, heads: int, tp: int, pp: int, gpus: int, batch: int, micro: int,
    chunks: int, published: int,
) -> None:  # fmt: skip
    """TFLOP/s per GPU, arXiv 2104.04473, table 1; micro-batches and chunks are those of the
    authors' scripts (Megatron-LM, examples/sc21/run_table_1.sh). Products at the figures of
    sglang-0.5 on A100; with those of vllm-0.14 the largest of these rows misses."""
    dp = gpus // tp // pp
    schedule: Any = "interleaved" if chunks > 1 else "1f1b"
    layout = TrainingLayout(tp=tp, pp=pp, dp=dp, schedule=schedule, chunks=chunks)
    made = plan_step(
        gpt(layers, hidden, heads),
        load_gpu("a100-80"),
        machine(gpus // 8, "dgx_a100"),
        layout,
        even_batch(batch, 2048, micro, dp),
        MEGATRON_2021,
    )
    assert made.flops.hardware == pytest.approx(Gpt(layers, hidden).flops(batch), rel=1e-9)
    assert made.flops_per_s_per_gpu / 1e12 == pytest.approx(published, rel=0.10)


def test_parts_add_up_to_the_step() -> None:
    made: TrainingStep = step(BASE)
    parts = made.pipeline_s + made.gradients_s + made.weights_s + made.optimizer_s
    assert made.seconds == pytest.approx(parts)
    assert sum(made.causes.values()) == pytest.approx(made.pipeline_s)
    assert made.tokens_per_s_per_gpu * made.seconds * 16 == pytest.approx(64 * 4096)
    assert 0.2 < made.mfu < made.hfu < 0.8


def test_recomputation_trades_time_for_memory() -> None:
    plain, full = step(BASE, Recipe()), step(BASE, FULL)
    assert plain.seconds < full.seconds < 1.4 * plain.seconds
    assert plain.memory.activation_bytes > 5 * full.memory.activation_bytes
    assert plain.flops.model == full.flops.model


def test_selective_recomputation_costs_the_scores_of_unfused_attention_only() -> None:
    unfused = Recipe(attention="unfused")
    none, some, all_ = (
        step(BASE, replace(unfused, recompute=r)) for r in ("none", "selective", "full")
    )
    assert none.seconds < some.seconds < all_.seconds
    assert all_.memory.activation_bytes < some.memory.activation_bytes
    assert some.memory.activation_bytes < none.memory.activation_bytes


def test_more_replicas_change_nothing_but_the_gradients() -> None:
    few, many = step(BASE, sequences=32), step(replace(BASE, dp=8), sequences=64)
    assert many.pipeline_s == pytest.approx(few.pipeline_s)
    assert many.gradients_s > few.gradients_s


def test_overlap_hides_gradients_as_far_as_there_is_compute() -> None:
    open_, half, hidden = (
        step(BASE, replace(FULL, gradient_overlap=share)).gradients_s for share in (0.0, 0.5, 1.0)
    )
    assert half == pytest.approx(open_ / 2)
    assert hidden < half


def test_sequence_parallelism_saves_activations() -> None:
    layout = TrainingLayout(tp=8)
    plain = step(layout, Recipe())
    shared = step(replace(layout, sequence_parallel=True), Recipe())
    assert shared.memory.activation_bytes < 0.8 * plain.memory.activation_bytes
    assert shared.seconds < plain.seconds


def test_interleaving_shrinks_the_bubble() -> None:
    plain = TrainingLayout(tp=2, pp=4, dp=2)
    chunked = replace(plain, schedule="interleaved", chunks=4)
    bound = replace(plain, schedule="zero_bubble")
    bubbles = [step(x, sequences=32).bubble for x in (plain, chunked, bound)]
    assert bubbles[0] > 1.5 * bubbles[1] > bubbles[2] == 0.0


def test_cutting_the_vocabulary_over_stages_balances_them() -> None:
    ends = TrainingLayout(pp=8)
    cut = replace(ends, vocabulary="stages")
    slow, quick = (step(x, sequences=64, length=2048) for x in (ends, cut))
    assert quick.pipeline_s < slow.pipeline_s


def test_interlaced_vocabularies_expose_their_exchanges_and_keep_more() -> None:
    """arXiv 2411.05288: the same bubble, collectives exposed, 1.5·p micro-batches in flight."""
    cut, laced = (
        step(TrainingLayout(pp=8, vocabulary=v), Recipe(), sequences=64, length=2048)
        for v in ("stages", "interlaced")
    )
    assert cut.pipeline_s < laced.pipeline_s < 1.15 * cut.pipeline_s
    assert laced.bubble == pytest.approx(cut.bubble, rel=1e-3)
    assert laced.memory.activation_bytes > 1.2 * cut.memory.activation_bytes


def test_context_parallelism_divides_a_long_sequence() -> None:
    one, two = (
        step(TrainingLayout(tp=4, cp=cp, sequence_parallel=True), sequences=2, length=65536)
        for cp in (1, 2)
    )
    assert 0.5 * one.pipeline_s < two.pipeline_s < 0.6 * one.pipeline_s
    assert two.memory.activation_bytes < 0.6 * one.memory.activation_bytes


def test_adapters_need_less_time_and_far_less_memory() -> None:
    full, lora = (step(BASE, Recipe(method=m)) for m in ("full", "lora"))
    assert 0.6 * full.seconds < lora.seconds < 0.85 * full.seconds
    assert lora.memory.optimizer_bytes < 0.02 * full.memory.optimizer_bytes
    assert lora.gradients_s < 0.1 * full.gradients_s


def test_a_zeroth_order_step_is_two_forward_passes() -> None:
    zeroth = step(BASE, Recipe(method="zeroth_order"))
    full = step(BASE, Recipe())
    assert zeroth.pipeline_s < full.pipeline_s
    assert zeroth.gradients_s == zeroth.optimizer_s == zeroth.memory.gradient_bytes == 0.0


def test_offloading_moves_the_states_and_costs_time() -> None:
    here, away = step(BASE, FULL), step(BASE, replace(FULL, offload=Offload()))
    assert away.memory.optimizer_bytes == 0.0 < here.memory.optimizer_bytes
    assert away.optimizer_s > 10 * here.optimizer_s


def test_swapping_spares_recomputation_where_sequences_are_long() -> None:
    """arXiv 2407.12117: attention grows with the square of the length, copies do not."""
    layout = TrainingLayout(tp=8, sequence_parallel=True)
    swap = replace(FULL, swap=Swap())
    plain, kept = (step(layout, r, sequences=1, length=262_144) for r in (FULL, swap))
    assert kept.causes.get("recompute", 0.0) < 0.1 * plain.causes["recompute"]
    assert kept.seconds < 0.85 * plain.seconds
    assert "swap" not in kept.causes
    short, redone = (step(layout, r, sequences=8, length=2048) for r in (swap, FULL))
    assert 0.1 < short.causes["recompute"] / redone.causes["recompute"] < 0.5
    assert short.seconds < redone.seconds


def test_swapped_activations_leave_two_layers_on_the_gpu() -> None:
    layout = TrainingLayout(tp=8, sequence_parallel=True)
    recipes = (Recipe(), FULL, replace(FULL, swap=Swap()))
    none, full, swap = (
        step(layout, r, sequences=1, length=262_144).memory.activation_bytes for r in recipes
    )
    assert swap < full < none


def test_host_memory_bounds_what_is_swapped() -> None:
    layout = TrainingLayout(tp=8, sequence_parallel=True)
    much, little = (
        step(layout, replace(FULL, swap=Swap(host_bytes=b)), sequences=1, length=262_144)
        for b in (400e9, 60e9)
    )
    assert much.causes.get("recompute", 0.0) < little.causes["recompute"]


def test_sharded_weights_are_gathered_for_every_micro_batch() -> None:
    layout = TrainingLayout(dp=16)
    some, all_ = (step(layout, replace(FULL, zero=z)) for z in (1, 3))
    assert all_.weights_s > 4 * some.weights_s
    assert all_.memory.weight_bytes == pytest.approx(some.memory.weight_bytes / 16)


def test_experts_over_more_devices_leave_room() -> None:
    few = TrainingLayout(tp=1, dp=16, ep=4)
    made, more = (step(x, model=MOE) for x in (few, replace(few, ep=16)))
    assert more.memory.weight_bytes < 0.5 * made.memory.weight_bytes
    assert made.causes["experts"] > 0 < made.causes["ep"]


def on_h100(layout: TrainingLayout, recipe: Recipe = FULL, model: str = LLAMA) -> Trainer:
    topology = machine(-(-layout.gpus // 8))
    return trainer(load_model(model), load_gpu("h100"), topology, layout, recipe)


def test_forward_passes_alone_take_about_a_quarter() -> None:
    made, batch = on_h100(BASE), even_batch(64, 4096, 1, 4)
    forward, whole = made.forward_s(batch), made.plan(batch).pipeline_s
    assert 0.2 * whole < forward < 0.32 * whole


def test_planning_twice_gives_the_same_step() -> None:
    made, batch = on_h100(BASE), even_batch(64, 4096, 1, 4)
    assert made.plan(batch) == made.plan(batch) == on_h100(BASE).plan(batch)


def test_packing_short_sequences_beats_one_at_a_time() -> None:
    lengths, layout = [512] * 128, TrainingLayout(tp=2, dp=8)
    made = on_h100(layout)
    apart = made.plan(even_batch(128, 512, 1, 8))
    packed = made.plan(packed_batch(lengths, 8192, 8))
    assert packed.tokens == apart.tokens
    assert packed.seconds < apart.seconds


@given(st.lists(st.integers(64, 1024), min_size=16, max_size=60), st.integers(1, 4))
def test_packing_keeps_every_sequence_and_every_limit(lengths: list[int], dp: int) -> None:
    batch = packed_batch(lengths, 4096, dp)
    micros = [m for replica in batch.replicas for m in replica]
    assert sorted(n for m in micros for n in m.lengths) == sorted(lengths)
    assert all(0 < m.tokens <= 4096 for m in micros)
    assert len({len(r) for r in batch.replicas}) == 1


@pytest.mark.parametrize(
    "layout, model, words",
    [
        (TrainingLayout(tp=3), LLAMA, "tp=3 does not divide the 32 attention heads"),
        (TrainingLayout(pp=5), LLAMA, "pp · chunks=5 does not divide the 32 layers"),
        (TrainingLayout(ep=5, dp=5), MOE, "ep=5 does not divide the 128 experts"),
        (TrainingLayout(ep=8, dp=4), MOE, "ep · etp=8 does not divide the 4"),
        (TrainingLayout(ep=2, dp=2), LLAMA, "has none; set ep = 1"),
        (TrainingLayout(pp=2, chunks=2), LLAMA, "chunks=2 needs schedule 'interleaved'"),
        (TrainingLayout(schedule="interleaved"), LLAMA, "use '1f1b'"),
        (TrainingLayout(sequence_parallel=True), LLAMA, "sequence_parallel=true"),
        (TrainingLayout(pp=2, stage_layers=(20, 10)), LLAMA, "write 2 numbers"),
        (TrainingLayout(tp=2, dp=4, ep=4, etp=1), MOE, "set it, or tp = 1"),
        (TrainingLayout(), "deepseek-v3.2", "use a model with full attention"),
    ],
)
def test_what_does_not_divide_is_refused_in_one_sentence(
    layout: TrainingLayout, model: str, words: str
) -> None:
    with pytest.raises(ScenarioError) as refused:
        on_h100(layout, model=model)
    assert words in str(refused.value)


def test_uneven_stages_may_be_written_out() -> None:
    layout = TrainingLayout(tp=4, pp=2, stage_layers=(17, 15))
    made = on_h100(layout).plan(even_batch(16, 4096, 1, 1))
    assert made.seconds > 0


def test_a_trainer_that_does_not_fit_is_refused_with_the_arithmetic() -> None:
    with pytest.raises(ScenarioError, match=r"does not fit on h100.*optimiser"):
        on_h100(TrainingLayout()).plan(even_batch(8, 4096, 1, 1))


@pytest.mark.parametrize(
    "what, words",
    [
        (lambda: even_batch(10, 4096, 1, 4), "try batch = 8"),
        (lambda: packed_batch([9000, 1], 8192, 2), "raise it to 9000"),
        (lambda: packed_batch([9000], 9000, 2), "lower dp to 1"),
        (lambda: on_h100(BASE).plan(even_batch(8, 4096, 1, 8)), "make it with even_batch"),
        (lambda: on_h100(BASE, replace(FULL, zero=3)), "use zero: 1, or pp = 1"),
        (lambda: on_h100(BASE, replace(FULL, swap=Swap())), "or leave swap out"),
        (
            lambda: on_h100(replace(BASE, schedule="interleaved", chunks=2)).plan(
                even_batch(12, 512, 1, 4)
            ),
            "not a multiple of pp=2",
        ),
        (
            lambda: trainer(
                load_model(LLAMA), load_gpu("h100"), machine(1), TrainingLayout(dp=16), FULL
            ),
            "set topology.nodes higher or lower dp",
        ),
    ],
)
def test_refusals_say_the_way_out(what: Any, words: str) -> None:
    with pytest.raises(ScenarioError) as refused:
        what()
    assert words in str(refused.value)
