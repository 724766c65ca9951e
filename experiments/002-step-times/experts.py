"""LatentMoE and Nemotron 3: what experts in a latent, and layers without a KV cache, make of
throughput."""

from __future__ import annotations

from collections.abc import Iterator

from machines import TRTLLM, VLLM, model_of, task
from row import EXACT, FAIR, TIGHT, Paper, Row

from sim.catalog.counting import total_params
from sim.catalog.model import Model, load_model
from sim.catalog.presets import with_latent_experts
from sim.errors import ScenarioError
from sim.perf.layouts.dp_attention import DpAttention
from sim.perf.shape import StepShape
from sim.perf.timers.calibrated import Calibrated
from sim.search.estimate import estimate
from sim.search.point import Point

HYBRID = Paper("LatentMoE", "core-papers §3b: arXiv 2601.18089, table 5")
KIMI = Paper("LatentMoE", "core-papers §3b: arXiv 2601.18089, section 4.3.1")
LATENT = "see the README, 'Experts in a latent'"
SUPER = Paper("Nemotron 3", "core-papers §3b: Nemotron 3 Super report, figure 1")


def rows() -> Iterator[Row]:
    """All of the chapter."""
    yield from _hybrid()
    yield from _kimi()
    yield from _nemotron()


def _hybrid_config() -> dict[str, object]:
    """Hybrid-73BT-8BA of table 2 with LatentMoE at α 4: 24 pairs of Mamba-2 and experts and four
    attention layers; 128 experts of which 6, both four times as many in a latent of 1024."""
    pairs = "ME" * 6
    return {
        "architectures": ["NemotronHForCausalLM"],
        "model_type": "nemotron_h",
        "_source": "arXiv 2601.18089, table 2",
        "hidden_size": 4096,
        "num_hidden_layers": 52,
        "hybrid_override_pattern": (pairs + "*") * 4,
        "num_attention_heads": 32,
        "num_key_value_heads": 8,
        "head_dim": 128,
        "vocab_size": 131072,
        "max_position_embeddings": 131072,
        "mlp_hidden_act": "relu2",
        "mamba_num_heads": 128,
        "mamba_head_dim": 64,
        "ssm_state_size": 128,
        "n_groups": 8,
        "conv_kernel": 4,
        "n_routed_experts": 512,
        "num_experts_per_tok": 24,
        "moe_intermediate_size": 2688,
        "moe_latent_size": 1024,
        "n_shared_experts": 2,
        "moe_shared_expert_intermediate_size": 2688,
    }


def _hybrid() -> Iterator[Row]:
    model = model_of("hybrid-73b-latent", _hybrid_config())
    size = total_params(load_model(model)) / 1e9
    yield HYBRID.near("LM-5 size", "Hybrid-73BT-8BA: parameters, 10⁹", 73.0, size, 0.05)
    theirs = {1: 181.6, 4: 528.5, 16: 1130.8, 64: 1569.6, 128: 1625.8}
    ours = {}
    for clients, tokens in theirs.items():
        point = Point(
            model, "h100", 1024, 1024, clients, {"tensor": {"tp": 2, "ep": 2}},
            {"weights": "fp8", "experts": "fp8"}, VLLM,
        )  # fmt: skip
        ours[clients] = estimate(point).output_tokens_per_s_per_gpu
        what = f"Hybrid-73B LatentMoE on 2 H100, FP8, {clients} clients, tokens/s/GPU"
        yield HYBRID.near(
            f"LM-5 {clients}", what, tokens, ours[clients], FAIR,
            assumed="1K/1K; TP2 with experts over both; BF16 KV; state in FP32; vLLM 0.24",
            cause=LATENT,
        )  # fmt: skip
    shown = [ours[n] / ours[64] for n in theirs]
    yield HYBRID.near(
        "LM-5 shape", "the same: 128 clients over 64", 1625.8 / 1569.6, shown[-1], TIGHT,
        cause=LATENT,
    )  # fmt: skip


def _kimi() -> Iterator[Row]:
    """LM-8, LM-9: a step of 64 GPUs, decode-heavy."""
    native = load_model("kimi-k2")
    latent = with_latent_experts(native, 4)
    deep = load_model("kimi-k2-80layers")
    size = total_params(deep) / 1e12
    yield KIMI.near("LM-9", "Kimi-K2 with 80 layers: parameters, 10¹²", 1.350, size, EXACT)
    for batch in (16, 64, 256):
        times = [_step_s(m, batch) for m in (native, latent, deep)]
        slower = 100.0 * (times[1] / times[0] - 1.0)
        what = f"K2-1T-LatentMoE over K2-1T, a decode step on 64 GB200, {batch} a GPU"
        given = "α 4, ℓ 1792, 1536 experts of which 32; DEP64, NVFP4, context 8K"
        yield KIMI.at_most(
            f"LM-8 {batch}", f"{what}: slower by, %", 12.0, slower, assumed=given, cause=LATENT
        )
        what = f"the same: K2-1.35T over LatentMoE, {batch} a GPU"
        yield KIMI.shape(
            f"LM-8 {batch} against 1.35T", what, "slower", [times[2] / times[1]],
            times[2] > times[1], assumed=given, cause=LATENT,
        )  # fmt: skip


def _step_s(model: Model, batch: int) -> float:
    formats = {"weights": "fp8", "experts": "nvfp4", "kv": "fp8"}
    made = task(model, "gb200", DpAttention(dp=64), formats, tokens=batch, sampled=batch)
    timer = Calibrated(engine_profile="trtllm-1.3").compile(made)
    one = StepShape(decodes=batch, context_tokens=batch * 8192, sampled=batch)
    return timer.price([one] * 64)


def _nemotron() -> Iterator[Row]:
    """LM-10: 8K prompts, 64K answers."""
    formats = {
        "nemotron-3-super": {"weights": "nvfp4", "kv": "fp8"},
        "gpt-oss-120b": {"activations": "fp8", "kv": "fp8"},
    }
    best = {name: max(_long(name, f, p) for p in (TRTLLM, VLLM)) for name, f in formats.items()}
    ratio = best["nemotron-3-super"] / best["gpt-oss-120b"]
    yield SUPER.between(
        "LM-10 gpt-oss", "Nemotron 3 Super over gpt-oss-120b on one B200, 8K/64K, tokens/s/GPU",
        (1.6, 3.0), ratio,
        assumed="one GPU each; the best number of clients of 8 to 512, of TensorRT-LLM and vLLM",
        cause=LATENT,
    )  # fmt: skip
    yield SUPER.missing(
        "LM-10 Qwen3.5", "Nemotron 3 Super over Qwen3.5-122B", "5 to 10",
        "Qwen3.5-122B is not in the catalog",
    )  # fmt: skip
    yield SUPER.missing(
        "LM-12", "Nemotron 3 Super on B300, MTP 1 and 3", "front moves outward",
        "an estimate has no drafts",
    )  # fmt: skip


def _long(model: str, formats: dict[str, str], timer: object) -> float:
    found = [0.0]
    for clients in (8, 32, 128, 512):
        point = Point(model, "b200", 8192, 57344, clients, "single", formats, timer)
        try:
            found.append(estimate(point).output_tokens_per_s_per_gpu)
        except ScenarioError:
            break
    return max(found)
