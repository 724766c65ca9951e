"""Prints published training rows beside ours: `python experiments/003-training-steps/run.py`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from rows import PIPELINES, PTD_P, TABLE_1, ZERO_3, Pipeline, Run

from sim.catalog.gpu import load_gpu
from sim.catalog.model import DenseFfn, GroupedAttention, Layer, Model
from sim.network.topology import load_topology
from sim.perf.fitted import Shelf
from sim.perf.training import (
    MEGATRON_2021,
    Recipe,
    Trainer,
    TrainingLayout,
    even_batch,
    trainer,
)
from sim.perf.training.asynchrony import end_to_end_bound
from sim.perf.training.schedules import pipeline_s

ZERO_3_RECIPE = replace(MEGATRON_2021, zero=3, gradient_overlap=1.0, weight_overlap=1.0)
"""DeepSpeed's defaults overlap both; all of the traffic may hide."""
EXPOSED = replace(MEGATRON_2021, zero=3)


def gpt(layers: int, hidden: int, heads: int, vocab: int = 51200, tied: bool = True) -> Model:
    """The papers' GPT: own keys for every head, 4h, biases."""
    attention = GroupedAttention(heads, heads, hidden // heads, qkv_bias=True, o_bias=True)
    layer = Layer(attention, DenseFfn(4 * hidden, gated=False, bias=True))
    return Model("GPT", hidden, vocab, (layer,) * layers, tied, 4096, "arXiv 2104.04473")


def row(name: str, quantity: str, theirs: float | None, ours: float) -> str:
    """A line of Markdown."""
    if theirs is None:
        return f"| {name} | {quantity} | withheld | {ours:.4g} | – |"
    return f"| {name} | {quantity} | {theirs:.4g} | {ours:.4g} | {ours / theirs:.3f} |"


def made(run: Run, recipe: Recipe, engine: str | None = None) -> Trainer:
    """The trainer of a run on A100; `engine` names the table of kernels, else the default's."""
    dp = run.gpus // run.tp // run.pp
    schedule = "interleaved" if run.chunks > 1 else "1f1b"
    layout = TrainingLayout(tp=run.tp, pp=run.pp, dp=dp, schedule=schedule, chunks=run.chunks)  # type: ignore[arg-type]
    model = gpt(run.layers, run.hidden, run.heads)
    topology = load_topology("dgx_a100", nodes=-(-run.gpus // 8))
    gpu = load_gpu("a100-80")
    shelf = Shelf(gpu, (engine,)) if engine else None
    return trainer(model, gpu, topology, layout, recipe, shelf=shelf)


def throughput(runs: tuple[Run, ...], recipe: Recipe, engine: str | None = None) -> Iterator[str]:
    """TFLOP/s per GPU, with recomputation as the paper counts, and where the time goes."""
    for run in runs:
        each = made(run, recipe, engine)
        step = each.plan(even_batch(run.batch, 2048, run.micro, each.layout.dp), check=False)
        parts = {k: v / step.seconds for k, v in step.causes.items()}
        parts |= {"gradients": step.gradients_s / step.seconds}
        parts |= {"weights": step.weights_s / step.seconds}
        parts |= {"optimiser": step.optimizer_s / step.seconds}
        shares = ", ".join(f"{k} {100 * v:.0f}" for k, v in parts.items() if v > 0.005)
        fits = f"{step.memory.total_bytes / 1e9:.0f} GB{'' if step.memory.fits else ' (too much)'}"
        line = row(run.name, "TFLOP/s/GPU", run.theirs, step.flops_per_s_per_gpu / 1e12)
        yield f"{line} {step.seconds:.2f} s, {fits}; % of step: {shares} |"


def pipelines(p: Pipeline) -> Iterator[str]:
    """Stage and iteration times of a Megatron of 2024 with FlashAttention."""
    model = gpt(32, 3072, 24, p.vocab, tied=False)
    topology, gpu = load_topology("dgx_a100", nodes=1), load_gpu("a100-80")
    recipe = Recipe(rotary=False)
    each = trainer(model, gpu, topology, TrainingLayout(pp=8), recipe)
    batch = even_batch(128, p.sequence, 1, 1)
    step = each.plan(batch, check=False)
    stages = each.costs(batch.replicas[0][0])
    name = f"s {p.sequence}, V {p.vocab // 1024}k"
    inner, last = stages[3][0], stages[7][0]
    yield row(name, "inner stage forward, ms", p.forward, 1e3 * inner.forward_s)
    yield row(name, "inner stage backward, ms", p.backward, 1e3 * inner.backward_s)
    extra = last.forward_s - inner.forward_s, last.backward_s - inner.backward_s
    yield row(name, "head forward, ms", p.last_forward - p.forward, 1e3 * extra[0])
    yield row(name, "head backward, ms", p.last_backward - p.backward, 1e3 * extra[1])
    yield row(name, "iteration, ms", p.iteration, 1e3 * step.pipeline_s)
    for way in ("stages", "interlaced"):
        layout = TrainingLayout(pp=8, vocabulary=way)  # type: ignore[arg-type]
        cut = trainer(model, gpu, topology, layout, recipe)
        spread = cut.plan(batch, check=False)
        if way == "stages" and p.spread is not None:
            head_s = cut.costs(batch.replicas[0][0])[3][0].backward["head"]
            yield row(name, "vocabulary passes of a stage, ms", p.spread[2], 1e3 * head_s)
            played = pipeline_s(8, 128, p.spread[0], p.spread[1] + p.spread[2])
            yield row(name, "iteration, vocabulary: stages, from measured passes, ms", None, played)
        yield row(name, f"iteration, vocabulary: {way}, ms", None, 1e3 * spread.pipeline_s)
        yield row(name, "its memory, GB", None, spread.memory.total_bytes / 1e9)


def main() -> None:
    """All tables, in Markdown."""
    head = "| run | quantity | theirs | ours | ratio |"
    print("## Megatron-LM, table 1, A100\n")
    print(f"{head} step, memory, parts |\n|---|---|--:|--:|--:|---|")
    print("\n".join(throughput(TABLE_1, MEGATRON_2021)))
    print("\n## The same with the other table of kernels (vLLM 0.14)\n")
    print(f"{head} step, memory, parts |\n|---|---|--:|--:|--:|---|")
    print("\n".join(throughput(TABLE_1 + PTD_P, MEGATRON_2021, "vllm-0.14")))
    print("\n## Table 2: PTD-P and ZeRO-3\n")
    print(f"{head} step, memory, parts |\n|---|---|--:|--:|--:|---|")
    print("\n".join(throughput(PTD_P, MEGATRON_2021)))
    print("\n".join(throughput(ZERO_3, ZERO_3_RECIPE)))
    bare = tuple(replace(run, name=f"{run.name}, nothing hidden") for run in ZERO_3)
    print("\n".join(throughput(bare, EXPOSED)))
    print("\n## Pipeline of eight A100, Megatron of 2024\n")
    print(f"{head}\n|---|---|--:|--:|--:|")
    for p in PIPELINES:
        print("\n".join(pipelines(p)))
    print("\n## End-to-end bound of speculative rollouts\n")
    print(f"{head}\n|---|---|--:|--:|--:|")
    print(row("RL-Think", "bound", 1.85, end_to_end_bound(133.6 / 185.3, 2.77)))
    print(row("RL-Zero", "bound", 1.86, end_to_end_bound(100.0 / 151.2, 3.32)))


if __name__ == "__main__":
    main()
