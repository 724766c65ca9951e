"""Single kernels: number formats, achieved efficiency, collectives, sparse attention's selection.

Most figures here are from the tables that the surfaces were fitted to: the rows say how well the
laws hold what they were fitted to, and nothing about predictions.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from typing import Any

import numpy as np
from machines import MACHINES, kernels, prefill_shape, task
from row import FAIR, TIGHT, Paper, Row

from sim.catalog.checkpoint import checkpoint_bytes, mtp_bytes
from sim.catalog.formats import load_format
from sim.catalog.gpu import load_gpu
from sim.catalog.model import load_model
from sim.network.collectives import Collectives, default_collectives
from sim.network.topology import load_topology
from sim.perf.layer_work import attention_works, layer_work
from sim.perf.layouts.dp_attention import DpAttention
from sim.perf.layouts.single import Single
from sim.perf.layouts.tensor import Tensor
from sim.perf.price_list import DecodeTables
from sim.perf.timers.calibrated import Calibrated

FORMATS = Paper("Number formats", "core-papers §4b; AIConfigurator tables")
KERNELS = Paper(
    "Achieved efficiency", "core-papers §9c, AIConfigurator tables (TensorRT-LLM 1.3): fitted to"
)
WIRES = Paper("Collectives", "core-papers §9b, AIConfigurator tables: fitted to")
"""What the rows of a chapter share."""


def product_s(gpu: str, fmt: str, tokens: float, width: float, depth: float) -> float:
    """A product alone, as a table of single operations has it: launch and quantisation with it."""
    form = load_format(fmt)
    found = kernels(gpu).gemm(form)
    return float(found.surface.seconds(load_gpu(gpu), form, np.array([tokens]), width, depth)[0])


VIDUR = Paper("Collectives", "systems.md B.0.4: profiles of microsoft/vidur")
NARROW = (
    "tokens go to FP4 experts in 8 bit here (`Routed.dispatch_bytes`), in NVFP4 there: twice the "
    "bytes"
)


def formats() -> Iterator[Row]:
    """MX-2 to MX-5."""
    r1 = load_model("deepseek-r1")
    for name, what, theirs, weights, experts in (
        ("MX-2a", "DeepSeek-R1, NVFP4 experts, rest BF16, size, GiB", 400.0, "bf16", "nvfp4"),
        ("MX-2b", "DeepSeek-R1, FP8 with block scales, size, GiB", 640.0, "fp8_block", "fp8_block"),
    ):
        made = checkpoint_bytes(r1, load_format(weights), load_format(experts))
        made += mtp_bytes(r1, weights)
        assumed = "GB of the source read as GiB; with the MTP layer"
        yield FORMATS.near(name, what, theirs, made / 2**30, 0.05, assumed=assumed)
    fp8 = _decode_linear_s("fp8")
    for name, fmt, bound in (("MX-3a", "nvfp4", 8 / 4.5), ("MX-3b", "mxfp4", 8 / 4.25)):
        ours = fp8 / _decode_linear_s(fmt)
        what = f"Llama-3.1-405B on 8 B200, batch 1: products in FP8 over {fmt.upper()}, ratio"
        yield FORMATS.at_most(name, what, bound, ours)
    for fmt, theirs in (("bf16", 2433.0), ("fp8", 1396.0), ("nvfp4", 1080.0)):
        ours = 1e6 * product_s("gb200", fmt, 8192, 16384, 16384)
        what = f"GB200, product of 8192 tokens × 16384², {fmt}, µs"
        assumed = "GB200 has no calibration here: B200's fractions at GB200's peaks"
        yield FORMATS.near(f"MX-4 {fmt}", what, theirs, ours, TIGHT, assumed=assumed,
            cause="B200's fitted fractions (0.66, 0.47 of the peak) at GB200's peaks; GB200 "
            "measures 0.72 and 0.41: no calibration of it")  # fmt: skip
    small = [1e6 * product_s("b200", f, 1, 4096, 4096) for f in ("bf16", "fp8", "nvfp4")]
    yield FORMATS.shape(
        "MX-5",
        "B200, product of 1 token × 4096², BF16, FP8, NVFP4, µs",
        "9.9, 19.7, 13.7: BF16 quickest, FP8 slowest",
        small,
        small[0] < small[2] < small[1],
    )


def _decode_linear_s(fmt: str) -> float:
    made = task("llama-3.1-405b", "b200", Tensor(tp=8), {"weights": fmt}, tokens=64, sampled=64)
    timer = Calibrated(engine_profile="trtllm-1.3").compile(made)
    return float(timer.tables[0].linear[1])


# ---- achieved efficiency


def efficiency() -> Iterator[Row]:
    """Products and attention."""
    yield from _products()
    yield from _attention()


SMALL = {
    ("h100", "bf16"): ((0.61, 0.67), (0.81, 0.81), (0.86, 0.86)),
    ("h100", "fp8"): ((0.27, 0.27), (0.53, 0.53), (0.76, 0.76)),
    ("b200", "bf16"): ((0.44, 0.44), (0.67, 0.67), (0.82, 0.82)),
    ("b200", "fp8"): ((0.12, 0.12), (0.33, 0.33), (0.61, 0.61)),
    ("b200", "nvfp4"): ((0.09, 0.09), (0.22, 0.22), (0.45, 0.45)),
}
"""Fractions of memory bandwidth of products of at most 64 tokens by 4096², 8192², 16384²."""
LARGE = {
    ("h100", "bf16"): (0.76, 0.81),
    ("h100", "fp8"): (0.49, 0.67),
    ("b200", "bf16"): (0.62, 0.75),
    ("b200", "fp8"): (0.45, 0.62),
    ("b200", "nvfp4"): (0.31, 0.43),
}
"""Fractions of the matrix peak of products of 8192 tokens."""


def _products() -> Iterator[Row]:
    for (gpu, fmt), ranges in SMALL.items():
        bits, peak = load_format(fmt).bits, load_gpu(gpu).hbm_bytes_per_s
        for side, theirs in zip((4096, 8192, 16384), ranges, strict=True):
            ours = side * side * bits / 8 / peak / product_s(gpu, fmt, 16, side, side)
            what = f"{gpu.upper()}, product of 16 tokens × {side}², {fmt}, share of bandwidth"
            assumed = "16 tokens for 'at most 64'"
            yield KERNELS.between(
                f"9c hbm {gpu} {fmt} {side}", what, theirs, ours, TIGHT, assumed=assumed,
                cause="the law's residual: one figure of bandwidth for all sides",
            )  # fmt: skip
    for (gpu, fmt), theirs in LARGE.items():
        peak = load_gpu(gpu).flops_per_s[load_format(fmt).compute]
        sides = (4096, 8192, 16384)
        found = [2 * 8192 * n * n / peak / product_s(gpu, fmt, 8192, n, n) for n in sides]
        what = f"{gpu.upper()}, product of 8192 tokens, {fmt}, share of peak, 4096² to 16384²"
        ok = theirs[0] * 0.9 <= min(found) and max(found) <= theirs[1] * 1.1
        claim = f"{theirs[0]} to {theirs[1]}, ends ± 10 %"
        yield KERNELS.shape(f"9c peak {gpu} {fmt}", what, claim, found, ok)


def _decode_s(gpu: str, model: str, batch: int, context: int, layout: Any = None) -> float:
    """One layer's decode attention."""
    formats = {"kv": "fp8", "weights": "bf16"}
    made = task(model, gpu, layout or Single(), formats, tokens=16, sampled=16)
    kernel = Calibrated(engine_profile="trtllm-1.3").kernels(made)
    (work,) = attention_works(made, made.model.layers[-1])
    tables: DecodeTables = kernel.decode(work, np.array([float(batch)]))
    total = float(batch * context)
    near = float(tables.near[0] + total * tables.near_key[0])
    far = float(tables.far[0] + total * tables.far_key[0])
    return max(float(tables.floor[0]), min(near, far))


def _attention() -> Iterator[Row]:
    what = "64/8 heads × 128, FP8 KV, batch 8, context 32K"
    for gpu, share in (("b200", 0.80), ("h100", 0.87)):
        nbytes = 8 * 32768 * 2 * 8 * 128
        ours = nbytes / load_gpu(gpu).hbm_bytes_per_s / _decode_s(gpu, "llama-3.1-70b", 8, 32768)
        name = f"9c decode attention {gpu}"
        yield KERNELS.near(name, f"{gpu.upper()}, {what}, share of bandwidth", share, ours, TIGHT)
    for gpu, batch, theirs in (("b200", 64, 847.0), ("b200", 1, 40.0)):
        ours = 1e6 * _decode_s(gpu, "deepseek-r1", batch, 131072)
        text = f"{gpu.upper()}, MLA decode, 128 heads, FP8 KV, batch {batch}, context 128K, µs"
        yield KERNELS.near(
            f"9c MLA {gpu} batch {batch}", text, theirs, ours, TIGHT,
            cause="the law's residual: one sequence is cut into fewer splits than fill the GPU",
        )  # fmt: skip
    for tp, theirs in ((1, 0.48), (8, 0.86)):
        seconds = _decode_s("h100", "deepseek-r1", 64, 65536, DpAttention(dp=1, tp=tp))
        ours = 64 * 65536 * 576 / load_gpu("h100").hbm_bytes_per_s / seconds
        text = f"H100, MLA decode, {128 // tp} heads, FP8 KV, share of bandwidth"
        assumed = "batch 64, context 64K"
        yield KERNELS.near(f"9c MLA h100 {128 // tp}", text, theirs, ours, TIGHT, assumed=assumed)
    for gpu, theirs in (("h100", 0.54), ("b200", 0.50)):
        made = task("llama-3.1-70b", gpu, tokens=16384, sampled=16, formats={"kv": "bf16"})
        (work,) = attention_works(made, made.model.layers[-1])
        kernel = Calibrated(engine_profile="trtllm-1.3").kernels(made)
        tables = kernel.prefill(work, np.array([16384.0]))
        shape = prefill_shape(1, 16384)
        seconds = float(
            tables.base[0]
            + tables.pair[0] * shape.prefill_pairs
            + tables.key[0] * shape.prefill_kv_tokens
        )
        ours = work.flops_per_pair * shape.prefill_pairs / load_gpu(gpu).flops_per_s["bf16"]
        text = f"{gpu.upper()}, prefill attention, 64 heads, 16K tokens, BF16, share of peak"
        yield KERNELS.near(f"9c prefill attention {gpu}", text, theirs, ours / seconds, TIGHT)


# ---- collectives


@cache
def among(gpu: str, devices: int, library: str = "none") -> Collectives:
    """So many GPUs of one node or rack."""
    topology = load_topology(MACHINES[gpu], nodes=1)
    return default_collectives(topology.group(range(devices)), library)


def collectives() -> Iterator[Row]:
    """NCCL at 8 KiB and 512 MiB, TensorRT-LLM's all-reduce, all-to-all of experts."""
    for gpu, devices, operation, small, bus in (
        ("a100-80", 2, "all_reduce", 10.1, 193.0),
        ("a100-80", 8, "all_reduce", 21.5, 222.0),
        ("h100", 2, "all_reduce", 6.3, 318.0),
        ("h100", 8, "all_reduce", 15.7, 445.0),
        ("h200", 8, "all_reduce", 16.0, 460.0),
        ("b200", 2, "all_reduce", 10.3, 534.0),
        ("b200", 8, "all_reduce", 25.6, 704.0),
        ("gb200", 4, "all_reduce", 16.0, 628.0),
        ("h100", 8, "all_to_all", 7.5, 315.0),
        ("b200", 8, "all_to_all", 11.0, 563.0),
        ("h100", 8, "all_gather", 10.6, 335.0),
        ("b200", 8, "all_gather", 16.6, 617.0),
    ):
        what = f"NCCL {operation}, {devices} {gpu.upper()}"
        least, most = _nccl(gpu, devices, operation)
        yield WIRES.near(
            f"9b {gpu}×{devices} {operation} small", f"{what}, ≤ 8 KB, µs", small, least, FAIR
        )
        yield WIRES.near(
            f"9b {gpu}×{devices} {operation} large", f"{what}, 512 MB, bus GB/s", bus, most, TIGHT,
            cause="the law's residual: one line for two and for eight GPUs",
        )  # fmt: skip
    for gpu, devices, sizes in (
        ("h100", 8, ((256, 3.2), (32768, 3.8), (131072, 6.2), (524288, 17.6))),
        ("b200", 8, ((256, 5.0), (32768, 6.1), (131072, 6.3), (524288, 10.9))),
        ("a100-80", 8, ((256, 4.4), (32768, 8.4), (131072, 11.7), (524288, 28.3))),
        ("gb200", 4, ((256, 4.6), (32768, 5.0), (131072, 5.1), (524288, 7.0))),
    ):
        for nbytes, theirs in sizes:
            ours = 1e6 * float(among(gpu, devices, "trtllm").all_reduce_s(float(nbytes)))
            what = f"TensorRT-LLM all-reduce, {devices} {gpu.upper()}, {nbytes:,} B, µs"
            yield WIRES.near(f"9b custom {gpu} {nbytes}", what, theirs, ours, FAIR)
    yield from _vidur()
    yield from _experts_exchange()


def _vidur() -> Iterator[Row]:
    sizes = np.array([1.0, 8.0, 16.0, 64.0]) * 2**20
    for devices, theirs in (
        (2, (0.047, 0.095, 0.139, 0.430)),
        (8, (0.064, 0.155, 0.274, 0.675)),
        (16, (0.464, 2.19, 4.15, 7.2)),
    ):
        topology = load_topology("dgx_a100", nodes=2)
        price = default_collectives(topology.group(range(devices)), "none")
        ours = 1e3 * np.asarray(price.all_reduce_s(sizes))
        what = f"A100, all-reduce of {devices}, 1, 8, 16 and 64 MiB, ms"
        claim = ", ".join(map(str, theirs)) + ": mean deviation below 25 %"
        yield VIDUR.shape(
            f"B.0.4 {devices}", what, claim, ours.tolist(), _apart(ours, theirs) < FAIR,
            cause="see the README, 'Vidur's all-reduce'",
        )  # fmt: skip


def _apart(ours: Any, theirs: Any) -> float:
    """Mean deviation as a factor, less one."""
    return float(np.exp(np.mean(np.abs(np.log(ours / np.array(theirs))))) - 1.0)


def _nccl(gpu: str, devices: int, operation: str) -> tuple[float, float]:
    """(µs at 8 KB, bus bandwidth in GB/s at 512 MB). Bus bytes per byte of the buffer: 2·(n−1)/n
    for an all-reduce, (n−1)/n for the others (nccl-tests, PERFORMANCE.md)."""
    price = getattr(among(gpu, devices), f"{operation}_s")
    kept = (devices - 1) / devices
    sent = kept if operation == "all_to_all" else 1.0
    seconds = float(price(512e6 * sent))
    bus = 512e6 * kept * (2 if operation == "all_reduce" else 1)
    return 1e6 * float(price(8192.0 * sent)), bus / seconds / 1e9


def _experts_exchange() -> Iterator[Row]:
    counts = np.array([1.0, 32.0, 128.0, 512.0, 1024.0, 4096.0])
    for name, devices, fmt, operation, theirs in (
        ("dispatch NVFP4 EP8", 8, "nvfp4", "dispatch", (18, 19, 22, 43, 64, 195)),
        ("dispatch NVFP4 EP32", 32, "nvfp4", "dispatch", (21, 22, 26, 49, 73, 225)),
        ("dispatch BF16 EP8", 8, "bf16", "dispatch", (14, 18, 35, 99, 186, 706)),
        ("dispatch BF16 EP64", 64, "bf16", "dispatch", (14, 21, 41, 117, 222, 902)),
        ("combine BF16 EP8", 8, "bf16", "combine", (14, 19, 38, 116, 215, 816)),
        ("combine BF16 EP64", 64, "bf16", "combine", (34, 26, 43, 132, 251, 1011)),
    ):
        ours = 1e6 * _exchange_s(devices, fmt, operation, counts)
        what = f"GB200 rack, {name}, 1, 32, 128, 512, 1024, 4096 tokens a GPU, µs"
        claim = ", ".join(map(str, theirs)) + ": mean deviation below 25 %"
        yield WIRES.shape(
            f"9b {name}", what, claim, ours.tolist(), _apart(ours, theirs) < FAIR, cause=NARROW
        )


def _exchange_s(devices: int, fmt: str, operation: str, tokens: Any) -> Any:
    made = task(
        "deepseek-r1", "gb200", DpAttention(dp=devices), {"experts": fmt}, tokens=16, sampled=16
    )
    work = layer_work(made, made.model.layers[-1])
    (sent,) = [e for e in work.exchanges if e.operation == operation]
    kernel = Calibrated(engine_profile="trtllm-1.3").kernels(made)
    return kernel.dispatch_s(tokens, sent, made.wires.stage[0])
