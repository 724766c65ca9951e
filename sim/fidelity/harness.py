"""How load points were driven and served, where the file itself does not say.

Two sources have settings of their own; every other row is taken as one server with the engine's
defaults under a closed loop of constant lengths. A file may carry the columns
`max_num_seqs`, `max_num_batched_tokens`, `kv_cache_dtype` and `gpu_memory_utilization`, which count
before anything here.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sim.catalog.model import load_model

PROMPTS_PER_CLIENT = 10
"""Requests of a load point for each client: InferenceX `benchmarks/*.sh`, --num-prompts CONC * 10;
assumed for other sources."""

INFERENCEX_SHORTEST = 0.8
"""Lengths are drawn from [0.8 L, L]: InferenceX, `RANDOM_RANGE_RATIO`."""

DEFAULTS: Mapping[str, Mapping[str, Any]] = {
    "vllm": {"max_num_batched_tokens": 8192, "max_num_seqs": 1024},
    "sglang": {
        "max_num_batched_tokens": 8192, "max_num_seqs": 1024, "batcher": "prefill_first",
    },
    "trtllm": {"max_num_batched_tokens": 8192, "max_num_seqs": 2048},
}  # fmt: skip
"""Engines with nothing set. vLLM: `arg_utils.py`, API server on GPUs with 70 GiB or more. SGLang:
`server_args.py`, chunked_prefill_size 8192 on 80 GB GPUs, enable_mixed_chunk off: prompts run in
passes of their own, before decodes; assumed: never short of request slots.
TensorRT-LLM: `llm_args.py`, max_num_tokens 8192 and max_batch_size 2048; assumed: a long prompt is
cut at the token limit, as with enable_chunked_prefill."""

PROFILES = {"vllm": "vllm-0.24", "sglang": "sglang-0.5", "trtllm": "trtllm-1.3"}
"""Engine → whose kernels and host its steps are priced with, where the version is not older."""
OLDER = {"vllm": ((0, 14), "vllm-0.12"), "trtllm": ((1, 1), "trtllm-1.0")}
"""Engine → the version from which `PROFILES` holds, and the profile before. vLLM schedules
asynchronously by default from 0.14 on. A version that is not given is taken as recent."""


def profile(engine: str, version: str) -> str:
    """The engine profile of `0.12.0`, `1.2.0rc2.post2`, or of an unknown version."""
    found = re.match(r"(\d+)\.(\d+)", version)
    since, older = OLDER.get(engine, ((0, 0), ""))
    if found and (int(found[1]), int(found[2])) < since:
        return older
    return PROFILES[engine]


CHECKPOINT = "gpt-oss"
"""Models that are always served in the checkpoint's own formats, whatever a file calls them; on
Blackwell with 8-bit activations (InferenceX `benchmarks/gptoss_*_b200*.sh`,
VLLM_USE_FLASHINFER_MOE_MXFP4_MXFP8=1; TensorRT-LLM's default there)."""

WEIGHTS = {
    "": "bf16", "bf16": "bf16", "fp16": "fp16", "float16": "bf16", "bfloat16": "bf16",
    "fp8": "fp8", "fp8_block": "fp8", "fp4": "nvfp4", "nvfp4": "nvfp4", "mxfp4": "mxfp4",
    "int8": "int8", "int4": "int4",
}  # fmt: skip
"""Words of load points → formats of the catalog. Blank: the times of those rows fit 16 bit."""

KV = {"": "bf16", "auto": "bf16", "bf16": "bf16", "bfloat16": "bf16", "fp16": "bf16", "fp8": "fp8"}


FRONTEND = {"request_s": 0.018, "prompt_token_s": 3.6e-6}
"""Seconds before an engine sees a prompt. Fitted to the mean TTFT of gpt-oss-120b on four B200 with
vLLM at four clients, whose kernels take little of it: 20 ms of 30 at 1K tokens, 45 of 82 at 8K."""


@dataclass(frozen=True, slots=True)
class Point:
    """What a row of load points says, in the catalog's words."""

    gpu: str
    engine: str
    """`vllm`, `trtllm`, `sglang`."""
    model: str
    weights: str
    tp: int
    ep: int
    pp: int
    dp: int
    """Attention ranks, each on `tp` GPUs; experts over all of them."""
    source: str
    input_tokens: int
    output_tokens: int
    concurrency: int
    profile: str
    """Whose kernels and host its steps are priced with."""
    more: Mapping[str, Any]
    """The row's own engine settings."""

    @property
    def lengths(self) -> dict[str, Any]:
        """The laws of prompt and answer."""
        law = _uniform if self.source == "inferencex" else _constant
        return {
            "prompt_tokens": law(self.input_tokens),
            "output_tokens": law(self.output_tokens),
        }

    def workload(self) -> dict[str, Any]:
        """`workload:` of its scenario. InferenceX sends 2 × concurrency warm-ups and waits for
        their ends before it measures (`benchmark_serving.py`), so they are left out: the measured
        requests begin on an idle server, all clients at once."""
        return {
            "arrivals": {"closed_loop": {"concurrency": self.concurrency}},
            "requests": PROMPTS_PER_CLIENT * self.concurrency,
            **self.lengths,
        }

    def frontend(self) -> dict[str, float]:
        """`frontend:` of its scenario: what a client of an HTTP server sees before the engine."""
        return dict(FRONTEND) if self.source == "inferencex" else {}

    def settings(self) -> dict[str, Any]:
        """`engine:` of its scenario. Random prompts share no prefix, so nothing is kept."""
        chosen = dict(DEFAULTS[self.engine])
        if self.source == "inferencex":
            chosen |= _inferencex(self)
        chosen |= {k: v for k, v in self.more.items() if k != "kv_cache_dtype"}
        chosen["max_num_seqs"] = min(chosen["max_num_seqs"], chosen["max_num_batched_tokens"])
        return chosen | {"enable_prefix_caching": False}

    def kv(self) -> str:
        """Format of the KV cache."""
        written = str(self.more.get("kv_cache_dtype", ""))
        return KV[written] if written else _kv(self)

    def precision(self) -> dict[str, str]:
        """`precision:` of its scenario."""
        if CHECKPOINT not in self.model:
            own = load_model(self.model).weight_format == "fp8_block" and self.weights == "fp8"
            return ({} if own else {"weights": self.weights}) | {"kv": self.kv()}
        narrow = {"activations": "mxfp8"} if self.gpu == "b200" else {}
        return {"kv": self.kv()} | narrow

    def layout_text(self) -> str:
        """`TP4·EP4`, `DP8·TP1`."""
        parts = (("DP", self.dp), ("TP", self.tp), ("PP", self.pp), ("EP", self.ep))
        return "·".join(f"{name}{n}" for name, n in parts if n > 1 or name == "TP")

    def workload_text(self) -> str:
        """`8192/1024 tokens, 16 clients`."""
        return f"{self.input_tokens}/{self.output_tokens} tokens, {self.concurrency} clients"


def _uniform(tokens: int) -> dict[str, Any]:
    shortest = max(1, int(INFERENCEX_SHORTEST * tokens))
    return {"uniform": {"min_tokens": shortest, "max_tokens": tokens}}


def _constant(tokens: int) -> dict[str, Any]:
    return {"constant": {"tokens": tokens}}


def _inferencex(point: Point) -> dict[str, Any]:
    """InferenceX `benchmarks/*.sh`. vLLM: max-num-batched-tokens 8192, max-num-seqs CONC (512 for
    gpt-oss on B200). TensorRT-LLM: max_num_tokens 16384 (Llama) or 20000 (gpt-oss), max_batch_size
    CONC or 512; with Llama at 1K/1K it also waits up to 20 steps for a fuller prompt batch
    (batch_wait_timeout_iters), which is not modelled."""
    if point.engine == "vllm":
        wide = CHECKPOINT in point.model and point.gpu == "b200"
        return {"max_num_seqs": 512 if wide else point.concurrency}
    tokens = 20_000 if CHECKPOINT in point.model else 16_384
    return {"max_num_batched_tokens": tokens, "max_num_seqs": max(512, point.concurrency)}


def _kv(point: Point) -> str:
    """InferenceX `benchmarks/*.sh`: kv-cache-dtype fp8, but auto for gpt-oss on Hopper. Others:
    assumed the engine's default, 16 bit, but FP8 for TensorRT-LLM with FP8 weights, whose
    checkpoints ask for it (`kv_cache_quant_algo`): 128 requests of 2,176 tokens decode together
    with Qwen3-32B on one H100, which has no room for them in 16 bit."""
    if point.source != "inferencex":
        return "fp8" if point.engine == "trtllm" and point.weights == "fp8" else "bf16"
    return "bf16" if CHECKPOINT in point.model and point.gpu != "b200" else "fp8"
