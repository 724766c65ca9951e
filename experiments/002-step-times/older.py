"""Published tables of the engines of 2023 and 2024, and two analytical models."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from typing import Any

from machines import decode_shape, gpu_of, model_of, prefill_shape, task
from row import EXACT, FAIR, TIGHT, Paper, Row

from sim.catalog.counting import kv_bytes_per_token, total_params
from sim.catalog.model import load_model
from sim.network.topology import load_topology
from sim.perf.layouts.single import Single
from sim.perf.layouts.tensor import Tensor
from sim.perf.shape import StepShape, pairs
from sim.perf.step_timer import TableTimer
from sim.perf.timers.calibrated import Calibrated
from sim.perf.timers.roofline import Roofline

SPLITWISE = Paper(
    "Splitwise",
    "systems.md B.0.1: Mutinifni/splitwise-sim, data/perf_model.csv",
    "profile vllm-2023",
)
DISTSERVE = Paper(
    "DistServe", "systems.md B.0.2: LLMServe/DistServe, simdistserve",
    "slopes of our step between two loads; profile vllm-2023 without its host for DistServe's own "
    "engine (C++), with it for vLLM",
)  # fmt: skip
SARATHI = Paper(
    "Sarathi-Serve", "systems.md B.0.3: microsoft/sarathi-serve, OSDI branch",
    "ratios only, as the source's files disagree; profile vllm-2023",
)  # fmt: skip
GENZ = Paper("GenZ", "systems.md B.14: golden tests of its repository")
KINETICS = Paper("Kinetics", "systems.md B.15: Infini-AI-Lab/Kinetics")
MOONCAKE = Paper("Mooncake", "systems.md B.19")
HELD = "see the README, 'Engines of 2023'"


def rows() -> Iterator[Row]:
    """All of the chapter."""
    yield from _splitwise()
    yield from _distserve()
    yield from _sarathi()
    yield from _genz()
    yield from _kinetics()
    yield from _mooncake()


@cache
def _timer(model: str, gpu: str, tp: int, profile: str = "vllm-2023") -> TableTimer:
    made = task(model, gpu, Tensor(tp=tp), tokens=32768, sampled=256, all_reduce="none")
    return Calibrated(engine_profile=profile).compile(made)


# ---- Splitwise

PROMPTS = {
    512: (53.4, 29.8, 94.3, 44.9),
    1024: (77.9, 29.7, 154.5, 45.0),
    2048: (136.8, 31.1, 274.2, 45.4),
    4096: (390.3, 30.6, 661.2, 46.5),
    8192: (844.9, 31.4, 1549.8, 46.5),
}
"""Prompt tokens → prompt and token ms, H100, then A100."""
BATCHES = {
    2: (76.9, 30.3, 165.9, 44.6),
    4: (132.6, 31.8, 292.3, 45.8),
    8: (371.6, 32.5, 767.6, 46.5),
    16: (811.9, 34.2, 2084.4, 50.4),
}
"""Prompts of 512 tokens in a batch → the same."""


def _splitwise() -> Iterator[Row]:
    whole = {(1, t): row for t, row in PROMPTS.items()} | {(b, 512): r for b, r in BATCHES.items()}
    for (batch, tokens), row in whole.items():
        for i, gpu in enumerate(("h100", "a100-80")):
            timer = _timer("llama-2-70b", gpu, 8)
            prompt = 1e3 * timer.price([prefill_shape(batch, tokens)])
            token = 1e3 * timer.price([decode_shape(batch, tokens + 128)])
            what = f"Llama-2-70B on 8 {gpu.upper()}, {batch} × {tokens} tokens"
            fitted = gpu == "h100" and batch * tokens <= 2048
            given = SPLITWISE.assumed + ("; fitted to" if fitted else "; not fitted to")
            name = f"T08 {gpu} {batch}×{tokens}"
            yield SPLITWISE.near(
                f"{name} prompt", f"{what}: prompt, ms", row[2 * i], prompt, FAIR, assumed=given,
                cause=HELD,
            )  # fmt: skip
            yield SPLITWISE.near(
                f"{name} token", f"{what}: token, ms", row[2 * i + 1], token, FAIR, assumed=given,
                cause=HELD,
            )  # fmt: skip


# ---- DistServe

COEFFICIENTS = {
    ("opt-13b", 1): (18.10, 0.10191, 19.93, 6.269e-4),
    ("opt-13b", 2): (14.74, 0.06858, 13.29, 3.411e-4),
    ("opt-13b", 4): (12.06, 0.03808, 10.26, 1.879e-4),
    ("opt-66b", 2): (43.06, 0.27423, 48.29, 9.424e-4),
    ("opt-66b", 4): (29.44, 0.15135, 30.76, 4.519e-4),
    ("opt-66b", 8): (25.49, 0.10659, 23.16, 2.269e-4),
}
"""DistServe's engine on A100: ms of a prefill, per prompt token; of a decode step, per key."""
VLLM_COEFFICIENTS = {
    ("opt-13b", 1): (22.05, 0.14051, 23.48, 5.929e-4),
    ("opt-66b", 4): (42.97, 0.21287, 39.58, 6.946e-4),
    ("opt-66b", 8): (38.93, 0.15737, 31.18, 2.756e-4),
}
"""The same of vLLM's."""


def _distserve() -> Iterator[Row]:
    for engine, table, profile in (
        ("DistServe", COEFFICIENTS, "vllm-0.24"),
        ("vLLM", VLLM_COEFFICIENTS, "vllm-2023"),
    ):
        for (model, tp), (_, per_token, start, per_key) in table.items():
            timer = _timer(model, "a100-80", tp, profile)
            what = f"{model} on {tp} A100, {engine}"
            short, long = (timer.price([prefill_shape(n, 512)]) for n in (1, 3))
            ours = 1e3 * (long - short) / 1024
            name = f"T06 {engine} {model} TP{tp}"
            given = f"profile {profile}; prompts of 512 tokens, one and three"
            yield DISTSERVE.near(
                f"{name} per token", f"{what}: prefill, ms per token", per_token, ours, FAIR,
                assumed=given, cause=HELD,
            )  # fmt: skip
            few, many = (timer.price([decode_shape(32, c)]) for c in (256, 1024))
            slope = 1e3 * (many - few) / (32 * 768)
            given = f"profile {profile}; 32 sequences of 256 and of 1024 tokens"
            yield DISTSERVE.near(
                f"{name} per key", f"{what}: decode, ms per key", per_key, slope, FAIR,
                assumed=given, cause=HELD,
            )  # fmt: skip
            alone = 1e3 * timer.price([decode_shape(1, 1)])
            yield DISTSERVE.near(
                f"{name} step", f"{what}: decode step of one short sequence, "
                f"ms", start, alone, FAIR,
                assumed=f"profile {profile}", cause=HELD,
            )  # fmt: skip


# ---- Sarathi-Serve


def _sarathi() -> Iterator[Row]:
    """T13: Yi-34B, TP2, A100."""
    timer = _timer("yi-34b", "a100-80", 2)
    what = "Yi-34B on 2 A100"
    one = timer.price([decode_shape(1, 1024)])
    for batch, theirs in ((16, 77.3), (64, 127.8), (128, 189.3)):
        ours = timer.price([decode_shape(batch, 1024)]) / one
        yield SARATHI.near(
            f"T13 decode {batch}", f"{what}: decode step of {batch} over one", theirs / 46.8, ours,
            FAIR, assumed=f"{SARATHI.assumed}; 1,024 tokens of context", cause=HELD,
        )  # fmt: skip
    short = timer.price([prefill_shape(1, 1024)])
    for tokens, theirs in ((2048, 366.0), (4096, 757.6), (8192, 1863.0), (16384, 4407.0)):
        ours = timer.price([prefill_shape(1, tokens)]) / short
        yield SARATHI.near(
            f"T13 prefill {tokens}", f"{what}: prompt of {tokens} tokens over "
            f"1,024", theirs / 214.3,
            ours, FAIR, cause=HELD,
        )  # fmt: skip
    mixed = timer.price([_hybrid(1021, 3)])
    yield SARATHI.near(
        "T13 hybrid", f"{what}: 1,021 prompt tokens and 3 decodes over 1,024 prompt tokens",
        217.6 / 217.2, mixed / short, 0.05, cause=HELD,
    )  # fmt: skip
    alone = timer.price([decode_shape(4, 1024)]) / 4
    beside = (mixed - timer.price([prefill_shape(1, 1021)])) / 3
    yield SARATHI.shape(
        "T13 piggyback", f"{what}: a decode alone over one that rides along", "80: tens of times",
        [alone / beside], alone / beside > 10,
    )  # fmt: skip


def _hybrid(prompt: int, decodes: int) -> StepShape:
    return StepShape(
        decodes=decodes,
        context_tokens=decodes * 1024,
        prefills=1,
        prefill_tokens=prompt,
        prefill_pairs=pairs(0, prompt),
        prefill_kv_tokens=prompt,
        sampled=decodes + 1,
    )


# ---- GenZ


def _genz() -> Iterator[Row]:
    """T49: GPT-2 on 300 TFLOP/s and 1200 GB/s at 0.8."""
    config = {
        "architectures": ["OPTForCausalLM"], "model_type": "opt", "hidden_size": 768,
        "num_hidden_layers": 12, "num_attention_heads": 12, "ffn_dim": 3072, "vocab_size": 50257,
        "word_embed_proj_dim": 768, "max_position_embeddings": 8192, "_source": "GPT-2",
        "tie_word_embeddings": True, "do_layer_norm_before": True,
    }  # fmt: skip
    model = load_model(model_of("gpt-2", config))
    fixed = Roofline(
        tensor=0.8, hbm=0.8, attention_tensor=0.8, attention_hbm=0.8, launch_s=0.0, host_s=0.0
    )
    made = {}
    for bandwidth in ("1200 GB/s", "1e9 GB/s"):
        gpu = gpu_of(flops_per_s={"bf16": "300 TFLOP/s"}, hbm_bytes_per_s=bandwidth)
        alone = load_topology("single_gpu")
        made[bandwidth] = fixed.compile(
            task(model, gpu, Single(), tokens=4096, sampled=1, topology=alone)
        ).tables[0]
    linear = [1e3 * float(t.linear[4096]) for t in made.values()]
    (price,) = made["1200 GB/s"].attention
    attention = 1e3 * price.prefill.pair[4096] * prefill_shape(1, 4096).prefill_pairs
    yield GENZ.near(
        "T49 linear", "GPT-2, 4096 tokens at 240 TFLOP/s: products, ms", 2.899, linear[1], EXACT,
        assumed=f"without norms and activations, as in GenZ; with them {linear[0]:.3g} ms",
    )  # fmt: skip
    yield GENZ.near(
        "T49 attention", "GPT-2, 4096 tokens at 240 TFLOP/s: attention, "
        "ms", 2.577, attention, EXACT,
        cause="GenZ counts every pair of query and key; ours are causal, half of them",
    )  # fmt: skip


# ---- Kinetics


def _kinetics() -> Iterator[Row]:
    """T50: four trials of Qwen3-8B against one of Qwen3-32B, by operations and by time."""
    small, large = load_model("qwen3-8b"), load_model("qwen3-32b")
    prompt, trials = 512, 4
    answers = (1024, 32768)
    ratios = []
    for intensity in (0.0, 562.5):
        for answer in answers:
            few = _eflops(large, prompt, answer, 1, intensity)
            ratios.append(_eflops(small, prompt, answer, trials, intensity) / few)
    yield KINETICS.shape(
        "T50", "four trials of Qwen3-8B over one of Qwen3-32B, 1K and 32K answers, "
        "operations; with KV",
        "the cheaper one changes once reading KV is charged", ratios,
        ratios[1] > 1 > 0 and ratios[3] > ratios[1] and ratios[0] < 1.05 < ratios[3],
        assumed="sizes and heads of the catalog; the paper's formula at 562.5 FLOP per byte",
    )  # fmt: skip
    times = []
    for answer in answers:
        cost = []
        for name, n in (("qwen3-8b", trials), ("qwen3-32b", 1)):
            timer = _timer(name, "h100", 1, "vllm-0.24")
            batch = 64 * n
            context = prompt + answer // 2
            cost.append(timer.price([decode_shape(batch, context)]) * answer)
        times.append(cost[0] / cost[1])
    yield KINETICS.shape(
        "T50 seconds", "the same, decode seconds of 64 tasks on one H100, 1K and 32K answers",
        "trials of the small model lose as answers grow", times, times[1] > times[0],
        assumed="memory for all sequences; vLLM 0.24",
    )  # fmt: skip


def _eflops(model: Any, prompt: int, answer: int, trials: int, intensity: float) -> float:
    """(2·N·g + 2·(2c + g)·g·H·dh)·T + I·2·(2c + gT)·g·Hkv·dh, dh over all layers."""
    a = model.layers[0].attention
    width = a.head_dim * len(model.layers)
    g, c = answer, prompt
    made = (2 * total_params(model) * g + 2 * (2 * c + g) * g * a.q_heads * width) * trials
    moved = 2 * (2 * c + g * trials) * g * a.kv_heads * width
    return float(made + intensity * moved)


# ---- Mooncake


def _mooncake() -> Iterator[Row]:
    """T19: load bandwidth above which reusing 8,192 tokens beats computing them."""
    model = load_model("llama-3.1-70b")
    for gpu, theirs in (("a100-80", 5.86), ("h100", 18.6)):
        made = task(model, gpu, Tensor(tp=8), tokens=8192, sampled=1, all_reduce="none")
        full = Roofline(tensor=1.0, attention_tensor=1.0, launch_s=0.0, host_s=0.0)
        stage = full.compile(made).tables[0]
        (price,) = stage.attention
        whole = stage.linear[8192] + price.prefill.pair[8192] * pairs(0, 8192)
        ours = kv_bytes_per_token(model) * 8192 / float(whole) / 1e9
        yield MOONCAKE.near(
            f"T19 {gpu}", f"Llama-3-70B on 8 {gpu.upper()}: break-even of reusing 8K tokens, GB/s",
            theirs, ours, TIGHT, assumed="A100 and H100 for A800 and H800; full peaks",
            cause="the paper takes 22·d² operations per token and layer, Llama-3-70B's "
            "matrices have "
            "25.5·d² (wider feed-forward), and norms take time too",
        )  # fmt: skip
