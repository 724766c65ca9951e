"""Work side by side: ladder residual, dual batches, nano-batches; operations of a large batch."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache

import numpy as np
from machines import decode_shape, played, prefill_shape, task
from row import EXACT, FAIR, TIGHT, Paper, Row

from sim.catalog.gpu import load_gpu
from sim.perf.layer_work import attention_works
from sim.perf.layouts.tensor import Tensor
from sim.perf.overlaps import Overlap
from sim.perf.overlaps.dual_batches import DualBatches
from sim.perf.overlaps.ladder import Ladder
from sim.perf.step_timer import TableTimer
from sim.perf.streams import Parts
from sim.perf.timers.calibrated import Calibrated

LADDER = Paper(
    "Ladder residual",
    "systems.md B.16: plots of github.com/mayank31398/ladder-residual-inference",
    "kernels of vLLM 0.24, NCCL's all-reduce (gpt-fast's functional collectives); answers over the "
    "time of prompt and answers",
)
XLLM = Paper("Dual batches", "systems.md B.9: xLLM report, arXiv 2510.14686: fitted to")
NANO = Paper("NanoFlow", "systems.md B.3: arXiv 2408.12757")
NEXUS = Paper("Nexus", "systems.md B.5")
OPEN = (
    (1, 2, 35.42, 36.69, 38.24), (1, 4, 59.41, 67.51, 69.04), (1, 8, 77.39, 101.22, 110.59),
    (4, 2, 120.58, 126.09, 130.77), (4, 4, 185.01, 204.30, 213.73),
    (16, 4, 585.23, 635.98, 665.07), (64, 4, 1249.67, 1358.65, 1433.53),
)  # fmt: skip
"""(batch, TP, tokens/s standard, ladder, without communication)."""
BARE = ((4, 8, 258.56, 355.80), (16, 8, 843.15, 1109.65), (64, 8, 1940.99, 2474.49))
"""(batch, TP, standard, without communication): the ladder of these is not given."""


def operations() -> Iterator[Row]:
    """Steps and operations."""
    yield from _ladder()
    yield from _dual()
    yield from _nanoflow()
    yield NEXUS.missing(
        "B.5", "Nexus: capacity of one L20 over vLLM, long prompts", "1.5 to 1.8",
        "no L20 in the catalog; two phases that share one GPU are laws (perf/partition.py) that no "
        "engine uses yet",
    )  # fmt: skip


# ---- ladder residual


@cache
def _timer(tp: int, overlap: Overlap | None) -> TableTimer:
    made = task(
        "llama-3.1-70b", "h100", Tensor(tp=tp), tokens=65536, sampled=64, overlap=overlap,
        all_reduce="none",
    )  # fmt: skip
    return Calibrated(engine_profile="vllm-0.24").compile(made)


def _tokens_per_s(timer: TableTimer, batch: int, wires: bool = True) -> float:
    """Prompt 1024, answer 512; without communication where `wires` is false."""
    whole = timer.price([prefill_shape(batch, 1024)])
    steps = timer.price_run([decode_shape(batch, 1025)], 511)
    if not wires:
        whole -= float(timer.tables[0].collective[batch * 1024])
        steps = [s - float(timer.tables[0].collective[batch]) for s in steps]
    return batch * 512 / (whole + sum(steps))


def _ladder() -> Iterator[Row]:
    """T31; the standard and communication-free columns where the ladder is not given."""
    for batch, tp, plain, hidden, free in (*OPEN, *((b, t, s, 0.0, f) for b, t, s, f in BARE)):
        what = f"Llama-3-70B on {tp} H100, batch {batch}, 1024/512"
        standard = _tokens_per_s(_timer(tp, None), batch)
        yield LADDER.near(
            f"T31 standard {batch}×TP{tp}", f"{what}: tokens/s", plain, standard, FAIR,
            cause="see the README, 'All-reduce of a compiled model'",
        )  # fmt: skip
        bare = _tokens_per_s(_timer(tp, None), batch, wires=False)
        yield LADDER.within_points(
            f"T31 exposed {batch}×TP{tp}", f"{what}: share of time in all-reduce",
            round(100 * (1 - plain / free), 1), 100 * (1 - standard / bare), 5.0,
            cause="see the README, 'All-reduce of a compiled model'",
        )  # fmt: skip
        if not hidden:
            continue
        ours = _tokens_per_s(_timer(tp, Ladder()), batch) / standard
        yield LADDER.within_points(
            f"T31 ladder {batch}×TP{tp}", f"{what}: gain of the ladder",
            round(100 * (hidden / plain - 1), 1), 100 * (ours - 1), 5.0,
            cause="see the README, 'All-reduce of a compiled model'",
        )  # fmt: skip


# ---- dual batches


def _dual() -> Iterator[Row]:
    """T29: the law, with the collectives of a layer and long enough computation beside them."""
    compute, sent = 40e-3, 9.3e-3
    made = task("deepseek-v3", "h200", Tensor(tp=8, ep=8), tokens=64, sampled=64)
    joined = DualBatches().streams(made).joined(Parts(compute, 0.0, 0.0, sent))
    saved = 61 * 1e3 * (compute + sent - joined)
    given = "the law's parameters are from this report; 40 ms of computation a layer"
    what = "DeepSeek-class model, 61 layers: net gain of dual batches, ms"
    yield XLLM.near("T29 net", what, 172.0, saved, TIGHT, assumed=given)
    hidden = sent * (1.0 - DualBatches().exposed) / DualBatches().network_speed
    beside = 1e3 * (hidden + sent * DualBatches().exposed)
    what = "the same: collectives of a layer, 9.3 ms alone, beside computation, ms"
    yield XLLM.near("T29 slowed", what, 12.4, beside, TIGHT, assumed=given)


# ---- NanoFlow


CONTEXT = 28.89e-3 * 2.039e12
"""Bytes of KV read per iteration and GPU: the paper's estimate of decode attention at 2.039 "
"TB/s."""


def _nanoflow() -> Iterator[Row]:
    """T17: operations of Llama-2-70B on 8 A100, 2048 tokens a step, 80 layers."""
    made = task("llama-2-70b", "a100-80", Tensor(tp=8), tokens=2048, sampled=2048)
    kernel = Calibrated(engine_profile="vllm-2023").kernels(made)
    count, fmt = 80, made.formats.weights
    shapes = {"KQV": (8192, 1280), "O": (1024, 8192), "UpGate": (8192, 7168), "Down": (3584, 8192)}
    theirs = {"KQV": 16.08, "O": 16.01, "UpGate": 69.92, "Down": 34.96}
    given = "Llama-2-70B on 8 A100, 2048 tokens a step"
    for name, (inputs, outputs) in shapes.items():
        ours = 1e3 * count * float(kernel.product_s(np.array([2048.0]), inputs, outputs, fmt)[0])
        yield NANO.near(f"T17 {name}", f"{given}: {name}, ms", theirs[name], ours, FAIR,
            assumed="kernels of vLLM 0.14 and SGLang 0.5", cause=OLD)  # fmt: skip
    (work,) = attention_works(made, made.model.layers[0])
    batch = 1024
    tables = kernel.decode(work, np.array([float(batch)]))
    keys = CONTEXT / count / work.bytes_per_context
    near = float(tables.near[0] + keys * tables.near_key[0])
    far = float(tables.far[0] + keys * tables.far_key[0])
    ours = 1e3 * count * max(float(tables.floor[0]), min(near, far))
    yield NANO.near(
        "T17 decode attention", f"{given}: decode attention, ms", 35.60, ours, FAIR,
        assumed=f"{batch} sequences that share the {keys:,.0f} tokens that the paper's "
        f"estimate reads",
    )  # fmt: skip
    reduce = made.wires.rank[0].all_reduce_s(2048.0 * 8192 * 2)
    yield NANO.near(
        "T17 network", f"{given}: two all-reduces a layer, ms", 47.92,
        1e3 * 2 * count * float(reduce), FAIR, cause=OLD,
    )  # fmt: skip
    bound = load_gpu("a100-80").flops_per_s["bf16"] * 0.84 / (2 * 70e9)
    yield NANO.near(
        "T17 bound", "Llama-2-70B on A100: optimal throughput, "
        "tokens/s/GPU", 1857.0, bound, EXACT * 2,
        assumed="the 260 TFLOP/s (0.84 of the peak) that the printed bound implies",
    )  # fmt: skip


OLD = "see the README, 'A100 of 2024'"


def engines() -> Iterator[Row]:
    """Total tokens/s/GPU of a saturated engine, one step after the other and in nano-batches."""
    engines = (("vLLM", "vllm-0.12"), ("TensorRT-LLM", "trtllm-1.0"))
    for isl, osl, *theirs in ((512, 512, 494, 735), (1024, 512, 552, 817), (512, 1024, 410, 636)):
        for (engine, profile), figure in zip(engines, theirs, strict=True):
            yield NANO.near(
                f"B.3 {engine} {isl}/{osl}",
                f"Llama-2-70B on 8 A100, {isl}/{osl}, prompts and answers, {engine}: tokens/s/GPU",
                float(figure), _total(isl, osl, "none", profile), FAIR, cause=OLD,
                assumed=f"steps of 2048 tokens; profile {profile}; 1,400 clients, 5,000 requests",
            )  # fmt: skip
    apart, beside = (_total(512, 512, o, "trtllm-1.0") for o in ("none", "nano_batches"))
    yield NANO.shape(
        "B.3 nano-batches", "Llama-2-70B on 8 A100, 512/512: nano-batches over one stream",
        "59 to 72 % of the optimum (an earlier version: 50 to 72 %)",
        f"{beside / apart:.2f}×, {beside / 1857:.0%} of the optimum",
        0.5 <= beside / 1857 <= 0.72,
        assumed="over our engine with TensorRT-LLM's kernels; figures of interference as in "
        "the paper "
        "for attention, assumed for the network",
        cause=OLD,
    )  # fmt: skip


@cache
def _total(isl: int, osl: int, overlap: str, profile: str) -> float:
    pool = {
        "layout": {"tensor": {"tp": 8}},
        "overlap": overlap,
        "timer": {"calibrated": {"engine_profile": profile}},
        "engine": {
            "max_num_seqs": 2048,
            "max_num_batched_tokens": 2048,
            "enable_prefix_caching": False,
        },
    }
    workload = {
        "arrivals": {"closed_loop": {"concurrency": 1400}},
        "requests": 5000,
        "prompt_tokens": {"constant": {"tokens": isl}},
        "output_tokens": {"constant": {"tokens": osl}},
    }
    tree = {
        "name": "nanoflow",
        "workload": workload,
        "model": "llama-2-70b",
        "topology": {"name": "dgx_a100", "nodes": 1},
        "pools": {"serve": pool},
    }
    made = played(tree)
    return float(made["output_tokens_per_s_per_gpu"]) * (isl + osl) / osl
