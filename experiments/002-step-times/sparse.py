"""Sparse attention: DSA's selection, the latent block, DeepSeek-V3.2 at batch 1; RocketKV."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from machines import TRTLLM, decode_s, task
from row import FAIR, TIGHT, Paper, Row

from sim.catalog.gpu import load_gpu
from sim.perf.layer_work import attention_works
from sim.perf.layouts.single import Single
from sim.perf.rocketkv import RocketKv
from sim.perf.surfaces.top_k import TopK
from sim.perf.timers.calibrated import Calibrated
from sim.search.design import design
from sim.search.estimate import estimate
from sim.search.point import Point
from sim.search.pricing import decode_shapes

GVR = Paper("Top-k", "core-papers §6b: TensorRT-LLM tech blog 21, supplementary repository")
V32 = Paper("DeepSeek-V3.2", "core-papers §6b: TensorRT-LLM tech blog 15")
BLOCK = Paper("Latent block", "core-papers §6b, AIConfigurator tables: fitted to")
ROCKET = Paper("RocketKV", "core-papers §5b: arXiv 2502.14051v2, figure 7")
GOOD, POOR = 0.40, 0.02
"""Overlap of successive top-k in layers 20 to 60 (35 to 50 %) and 0 to 1 (1 to 3 %)."""
ONE = "see the README, 'Batch 1'"
DRAFTS, ACCEPTED = 3, 2.82
"""MTP draft length, and mean tokens a verify step yields (blog 1: DeepSeek-R1 at 1K/2K)."""


def rows() -> Iterator[Row]:
    """All of the chapter."""
    yield from _kernel()
    yield from _latent_block()
    yield from _served()
    yield from _rocketkv()


def _kernel() -> Iterator[Row]:
    top, gpu, n = TopK(), load_gpu("b200"), 70_000
    radix = float(top.radix_seconds(gpu, 1, n))
    times = {o: 1e6 * float(top.gvr_seconds(gpu, 1, n, o)) for o in (GOOD, POOR, 0.0)}
    given = "input of the law"
    what = "B200, 1 row of 70,000 scores, k 2048"
    yield GVR.near("GV-1 radix", f"{what}: radix, µs", 43.7, 1e6 * radix, TIGHT, assumed=given)
    for o, words, theirs in (
        (GOOD, "layers 20 to 60", 22.7),
        (POOR, "layers 0 to 1", 27.2),
        (0.0, "random guess", 30.9),
    ):
        name = f"GV-1 {words}"
        yield GVR.near(name, f"{what}: GVR, {words}, µs", theirs, times[o], TIGHT, assumed=given)
    overlaps = np.concatenate([np.full(2, POOR), np.linspace(POOR, 0.35, 18), np.full(41, GOOD)])
    gains = radix / top.gvr_seconds(gpu, 1, n, overlaps)
    mixed = "overlap rises linearly from layer 2 to layer 20"
    mean = float(gains.mean())
    yield GVR.near(
        "GV-2 mean", f"{what}: speed-up, mean of layers", 1.88, mean, TIGHT, assumed=mixed
    )
    for words, theirs, ours in (
        ("slowest layer", 1.57, float(gains.min())),
        ("quickest layer", 2.02, float(gains.max())),
    ):
        yield GVR.near(f"GV-2 {words}", f"{what}: speed-up, {words}", theirs, ours, TIGHT)
    best = radix / float(top.gvr_seconds(gpu, 1, n, 1.0))
    overlap = "overlap 1"
    yield GVR.near("GV-2 best", f"{what}: speed-up, best step", 2.42, best, TIGHT, assumed=overlap)
    for words, overlap_at, shares in (
        ("low overlap", POOR, {"verify": 52.0, "guess": 10.0}),
        ("high overlap", GOOD, {"verify": 34.0, "guess": 10.0}),
    ):
        phases = {k: float(v) for k, v in top.gvr_phases(n, overlap_at).items()}
        whole = sum(phases.values())
        for phase, share in shares.items():
            ours = 100 * phases[phase] / whole
            name = f"GV-3 {phase}, {words}"
            yield GVR.within_points(name, f"GVR, {words}: share of {phase}", share, ours, 5.0)
        for phase, low, high in (("collect", 24.0, 33.0), ("refine", 14.0, 22.0)):
            ours = 100 * phases[phase] / whole
            claim = f"{low:g} to {high:g} %, ± 5 points"
            ok = low - 5.0 <= ours <= high + 5.0
            name = f"GV-3 {phase}, {words}"
            yield GVR.shape(name, f"GVR, {words}: share of {phase}, %", claim, [ours], ok)
    counts = np.arange(4096, 65536, 16)
    ahead = top.gvr_seconds(gpu, 1, counts, 0.0) < top.radix_seconds(gpu, 1, counts)
    even = float(counts[np.argmax(ahead)])
    yield GVR.near(
        "GV-4", "Random data: scores at which GVR is as quick as radix", 16_000, even, FAIR
    )
    library = 1e6 * float(top.library_seconds(gpu, 64, 9295))
    small = 1e6 * float(top.radix_seconds(gpu, 64, 9295))
    what = "B200, 64 rows of 9,295 scores"
    yield GVR.near("GV-9 torch", f"{what}: torch.topk, µs", 106.0, library, TIGHT, assumed=given)
    yield GVR.near("GV-9 radix", f"{what}: radix, µs", 14.3, small, TIGHT, assumed=given)


def _latent_block() -> Iterator[Row]:
    theirs = dict(zip((1, 4, 16, 32, 64, 128), (113, 136, 214, 317, 524, 935), strict=True))
    formats = {"weights": "nvfp4", "kv": "fp8"}
    made = task("deepseek-r1", "b200", Single(), formats, tokens=64, sampled=64)
    kernel = Calibrated(engine_profile="trtllm-1.3").kernels(made)
    (work,) = attention_works(made, made.model.layers[-1])
    tables = kernel.decode(work, np.array([64.0]))
    around = kernel.block_s(work, np.array([64.0]), decode=True)
    if around is None:
        return
    for thousands, microseconds in theirs.items():
        context = 64.0 * thousands * 1024
        near = tables.near[0] + context * tables.near_key[0]
        far = tables.far[0] + context * tables.far_key[0]
        ours = 1e6 * (float(around[0]) + max(float(tables.floor[0]), float(min(near, far))))
        what = f"B200, MLA module, NVFP4, FP8 KV, batch 64, context {thousands}K, µs"
        yield BLOCK.near(f"GV-10 {thousands}K", what, float(microseconds), ours, TIGHT)


def _served() -> Iterator[Row]:
    """GV-12 without and with drafts, GV-9 end to end."""
    point = Point(
        "deepseek-v3.2", "b200", 8192, 1024, 1, layout={"tensor": {"tp": 4, "ep": 4}},
        precision={"weights": "bf16", "experts": "nvfp4", "kv": "fp8"}, timer=TRTLLM,
    )  # fmt: skip
    found = estimate(point)
    given = "NVFP4 experts, the rest BF16 (published checkpoint); experts over the 4 GPUs"
    what = "DeepSeek-V3.2 on 4 B200, TP4, batch 1, 8K/1K"
    yield V32.near(
        "GV-12 TTFT", f"{what}: TTFT, ms", 426.0, 1e3 * found.ttft_s, FAIR, assumed=given,
        cause="kernels of the indexer and of sparse attention in prompts are nobody's tables: "
        "priced "
        "at dense rates; the MTP layer's own prompt pass and the server are not in it",
    )  # fmt: skip
    tpot = 1e3 * drafted_s(point, 8192 + 512) / ACCEPTED
    assumed = f"{given}; {ACCEPTED} tokens a verify step; a draft is 1/61 of a step and the head"
    yield V32.near(
        "GV-12 TPOT", f"{what}, MTP 3: TPOT, ms", 3.23, tpot, FAIR, assumed=assumed, cause=ONE
    )
    yield from _selection(point)


def drafted_s(point: Point, context: int) -> float:
    """Seconds of a verify step of one sequence with its drafts, by hand: the sequence's k + 1
    tokens priced as so many decodes, and k passes of one layer and the head."""
    made = design(point)
    (pool,) = made.plan.pools
    timer = made.timers[pool.name]
    verify = decode_s(point, DRAFTS + 1, context)
    one = decode_s(point, 1, context)
    head = float(timer.tables[0].head[1])
    draft = (one - head) / len(pool.model.layers) + head
    return verify + DRAFTS * draft


def _selection(point: Point) -> Iterator[Row]:
    """What torch.topk in place of radix would cost the served step."""
    top, gpu, layers = TopK(), load_gpu("b200"), 61
    for words, batch, context, low, high in (
        ("low latency", 1, 8704, 25.0, 40.0),
        ("throughput", 64, 9295, 14.0, 24.0),
    ):
        step = decode_s(point, batch, context)
        more = float(
            top.library_seconds(gpu, batch, context) - top.radix_seconds(gpu, batch, context)
        )
        ours = 100 * layers * more / step
        what = f"DeepSeek-V3.2 on 4 B200, {words}: gain of radix over torch.topk, end to end, %"
        assumed = f"batch {batch}, context {context:,}"
        name = f"GV-9 {words}"
        yield V32.between(
            name, what, (low, high), ours, FAIR, assumed=assumed,
            cause="the step around it is of a later engine and shorter than the blog's, so "
            "the same "
            "microseconds are a larger share",
        )  # fmt: skip


# ---- RocketKV


def _rocketkv() -> Iterator[Row]:
    """RK-6: batch 1 decode of Llama-3.1-8B in FP16; attention reads t of S keys, two passes."""
    for gpu in ("a100-80", "h100"):
        point = Point("llama-3.1-8b", gpu, 16384, 256, 1, precision={"kv": "bf16"})
        made = design(point)
        (timer,) = made.timers.values()
        gains: dict[int, list[float]] = {}
        savings = []
        for context in (16_384, 31_744, 65_536, 96_256):
            shapes = decode_shapes(timer, np.array([1]), np.array([float(context)]))
            parts = timer.breakdown(shapes)
            whole = float(timer.seconds(shapes)[0])
            attention = float(np.asarray(parts["attention_s"]).ravel()[0])
            rockets = [RocketKv(context, t) for t in (256, 512, 1024, 2048, 4096)]
            rest = whole - attention
            gains[context] = [whole / (rest + attention * r.traffic) for r in rockets]
            savings.append(1.0 - rockets[0].storage)
        grows = all(
            low <= high
            for a, b in zip(list(gains.values()), list(gains.values())[1:], strict=False)
            for low, high in zip(a, b, strict=True)
        )
        falls = all(g == sorted(g, reverse=True) for g in gains.values())
        shown = "; ".join(f"{s // 1024}K: {g[0]:.2f} to {g[-1]:.2f}" for s, g in gains.items())
        yield ROCKET.shape(
            f"RK-6 {gpu}",
            f"Llama-3.1-8B, 16 bit, batch 1, {gpu.upper()}: speed-up by context, t = 256 to 4096",
            "grows with the context, falls weakly with t; so does the saving of memory",
            f"{shown}; memory saved {', '.join(f'{s:.0%}' for s in savings)}",
            grows and falls and savings == sorted(savings),
            assumed="attention scaled by the traffic 1/c; a step of vLLM and not of gpt-fast",
        )
