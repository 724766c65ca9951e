"""Absolute throughput and latency of TensorRT-LLM.

Offline maximum load is played as its page says: so many requests of equal length at once, every one
admitted when its whole length has room, until the last one ends.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from machines import MACHINES, TRTLLM, decode_s, played
from row import FAIR, Paper, Row
from sparse import ACCEPTED, drafted_s

from sim.search.estimate import estimate
from sim.search.point import Point

PAGE = Paper(
    "Offline maximum load",
    "core-papers §9d; TensorRT-LLM docs/source/developer-guide/perf-overview.md",
    "batch and token limits are the LLM API's defaults (2048, 8192); 0.95 of memory for "
    "weights and "
    "KV; guaranteed-no-evict scheduling; uniform expert load; profile trtllm-1.0, the nearest "
    "before "
    "the page (checkpoints of late 2025)",
)
PAGE_TIMER = {"calibrated": {"engine_profile": "trtllm-1.0"}}
LATENCY = Paper("Latency end", "core-papers §9d: TensorRT-LLM tech blog 1")
ABLATION = Paper("Throughput ablations", "core-papers §9d: TensorRT-LLM tech blog 3")
REQUESTS = {1000: 3000, 8192: 1500, 32768: 1000}
"""Requests of a run by answer length, as the page lists them."""
LIMITS = {
    "max_num_seqs": 2048,
    "max_num_batched_tokens": 8192,
    "enable_prefix_caching": False,
    "preemption": "none",
    "gpu_memory_utilization": 0.95,
}


@dataclass(frozen=True, slots=True)
class Served:
    """A model as the page serves it on one GPU, and its figures by answer length."""

    model: str
    gpu: str
    layout: str
    ranks: int
    """GPUs; `DEP` shares experts among them, `TP` everything."""
    formats: dict[str, str]
    figures: dict[int, float]
    cause: str = ""


def _served() -> Iterator[Served]:
    r1_fp4 = {"weights": "fp8", "experts": "nvfp4", "kv": "fp8"}
    short = "KV room: see the README, 'Reserved KV'"
    hopper = "see the README, 'Experts on Hopper'"
    yield Served(
        "deepseek-r1", "b200", "DEP", 4, r1_fp4, {1000: 6463, 8192: 3862, 32768: 1451},
        short,
    )  # fmt: skip
    yield Served(
        "deepseek-r1", "gb200", "DEP", 4, r1_fp4, {1000: 6939, 8192: 4379, 32768: 1465},
        short,
    )  # fmt: skip
    yield Served(
        "deepseek-r1", "h200", "DEP", 8, {"kv": "fp8"}, {1000: 1627, 8192: 1218, 32768: 438},
        hopper,
    )  # fmt: skip
    fp4, fp8 = {"weights": "nvfp4", "kv": "fp8"}, {"weights": "fp8", "kv": "fp8"}
    yield Served("llama-3.3-70b", "b200", "TP", 1, fp4, {1000: 6920, 8192: 3242})
    yield Served("llama-3.3-70b", "gb200", "TP", 1, fp4, {1000: 7769, 8192: 3805})
    yield Served("llama-3.3-70b", "h200", "TP", 2, fp8, {1000: 2587, 8192: 2009})
    yield Served("llama-3.3-70b", "h100", "TP", 2, fp8, {1000: 2209})
    mx, bf = {"activations": "fp8", "kv": "fp8"}, {"kv": "bf16"}
    triton = "see the README, 'Experts on Hopper'"
    yield Served("gpt-oss-120b", "b200", "DEP", 2, mx, {1000: 25943})
    yield Served("gpt-oss-120b", "gb200", "TP", 1, mx, {1000: 27198})
    yield Served("gpt-oss-120b", "h200", "TP", 1, bf, {1000: 6868}, triton)
    yield Served("gpt-oss-120b", "h100", "DEP", 4, bf, {1000: 4685}, triton)
    q = "qwen3-235b-a22b"
    yield Served(q, "b200", "DEP", 4, fp4, {1000: 5764, 8192: 3389})
    yield Served(q, "gb200", "DEP", 4, fp4, {1000: 6172, 8192: 3423})
    yield Served(q, "h200", "DEP", 4, fp8, {1000: 3288, 8192: 1417}, hopper)
    yield Served(q, "h100", "DEP", 8, fp8, {1000: 1932, 8192: 873}, hopper)


def offline() -> Iterator[Row]:
    """§9d."""
    for served in _served():
        for answer, theirs in served.figures.items():
            prompt = 1000 if answer == 1000 else 1024
            ours = _offline(served, prompt, answer)
            how = f"{served.layout}{served.ranks}"
            what = (
                f"{served.model} on {served.gpu.upper()}, {how}, {prompt}/{answer}, "
                "output tokens/s/GPU"
            )
            name = f"9d {served.model} {served.gpu} {prompt}/{answer}"
            yield PAGE.near(name, what, theirs, ours, FAIR, cause=served.cause)


def _offline(served: Served, prompt: int, answer: int) -> float:
    n = served.ranks
    layout: Any = "single" if n == 1 else {"tensor": {"tp": n}}
    if served.layout == "DEP":
        layout = {"dp_attention": {"dp": n}}
    workload = {
        "arrivals": "at_once",
        "requests": REQUESTS[answer],
        "prompt_tokens": {"constant": {"tokens": prompt}},
        "output_tokens": {"constant": {"tokens": answer}},
    }
    pool = {
        "layout": layout,
        "precision": served.formats,
        "timer": PAGE_TIMER,
        "engine": LIMITS | {"max_model_len": prompt + answer},
    }
    tree = {
        "name": "offline",
        "workload": workload,
        "model": served.model,
        "topology": {"name": MACHINES[served.gpu], "nodes": 1},
        "pools": {"serve": pool},
    }
    return float(played(tree)["output_tokens_per_s_per_gpu"])


# ---- one user


def _one(weights: str, timer: object = TRTLLM) -> Point:
    formats = {"weights": weights, "experts": "nvfp4", "kv": "fp8"}
    layout = {"tensor": {"tp": 8, "ep": 8}}
    return Point("deepseek-r1", "b200", 1024, 2048, 1, layout, formats, timer)


def latency() -> Iterator[Row]:
    """One user of DeepSeek-R1 on 8 B200: at first, and after all steps."""
    what = "DeepSeek-R1 on 8 B200, EP8TP8, batch 1, 1K/2K, tokens/s/user"
    formats = "NVFP4 experts, the rest BF16"
    first = estimate(_one("bf16")).tokens_per_s_per_user
    yield LATENCY.near(
        "9d first", f"{what}: at first, no MTP", 67.0, first, FAIR,
        assumed=f"{formats}; kernels, fusions and host loop of today's TensorRT-LLM",
        cause="the figure is of an engine before overlap scheduling, fused kernels and router "
        "kernels, of which there are no tables; ours has today's",
    )  # fmt: skip
    last = ACCEPTED / drafted_s(_one("bf16"), 2048)
    yield LATENCY.near(
        "9d last", f"{what}: after all steps, MTP 3", 368.0, last, FAIR,
        assumed=f"{formats}; {ACCEPTED} tokens a verify step; drafts by hand, see GV-12",
        cause="see the README, 'Batch 1'",
    )  # fmt: skip
    eager = {"calibrated": {"engine_profile": "trtllm-1.3", "cuda_graphs": False}}
    gain = decode_s(_one("bf16", eager), 1, 2048) / decode_s(_one("bf16"), 1, 2048)
    yield Paper("Latency end", "core-papers §9c: TensorRT-LLM tech blog 2").near(
        "9c graphs", "DeepSeek-R1 on 8 B200, batch 1: eager step over a CUDA "
        "graph's", 7.2, gain, FAIR,
        cause="the profile's launch cost of a layer is that of a dense layer (Splitwise's "
        "stack); a "
        "layer of latent attention and experts launches several times as many kernels",
    )  # fmt: skip


# ---- throughput ablations of DeepSeek-R1 on 8 B200


def ablations() -> Iterator[Row]:
    """Attention DP, expert parallelism, FP8 KV, the shared expert beside the exchange."""
    what = "DeepSeek-R1 on 8 B200, 1K/2K"
    dp, given = {"dp_attention": {"dp": 8}}, "NVFP4 experts, FP8 KV; as many clients as fit"
    whole = _most(dp, "fp8", 4096)
    for name, words, theirs, layout, kv, clients in (
        ("DP", "attention DP over TP", 4.5, {"tensor": {"tp": 8, "ep": 8}}, "fp8", 512),
        ("KV", "FP8 KV over BF16", 1.06, dp, "bf16", 4096),
    ):
        ours = whole / _most(layout, kv, clients)
        yield ABLATION.near(
            f"9d {name}", f"{what}: {words}, ratio", theirs, ours, FAIR, assumed=given
        )
    yield ABLATION.missing(
        "9d EP", f"{what}: EP in place of TP of the experts", "+142 %",
        "attention DP with experts cut by tensor parallelism has no layout",
    )  # fmt: skip
    yield ABLATION.missing(
        "9d gather", f"{what}: FP4 all-gather", "+4 %",
        "dispatch is an all-to-all; gathering all tokens in the experts' format has no setting",
    )  # fmt: skip
    beside = _most(dp, "fp8", 4096, ("pools.serve.overlap=shared_expert",))
    yield ABLATION.within_points(
        "9d shared", f"{what}: shared expert beside the exchange, gain", 5.3,
        100 * (beside / whole - 1), 5.0, assumed=given,
    )  # fmt: skip


def _most(layout: object, kv: str, clients: int, changes: tuple[str, ...] = ()) -> float:
    formats = {"weights": "bf16", "experts": "nvfp4", "kv": kv}
    engine = {"max_num_seqs": 1024}
    point = Point(
        "deepseek-r1", "b200", 1024, 2048, clients, layout, formats, TRTLLM, engine, changes=changes
    )
    return estimate(point).output_tokens_per_s_per_gpu
