"""Layouts of decode: Helix at a million tokens, and which mapping wins along a front."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import cache

from machines import decode_shape, task
from row import Paper, Row

from sim.catalog.formats import load_format
from sim.catalog.model import load_model
from sim.errors import ScenarioError
from sim.perf.layouts import Layout
from sim.perf.layouts.dp_attention import DpAttention
from sim.perf.layouts.helix import Helix
from sim.perf.layouts.kv_parallel import KvParallel
from sim.perf.layouts.tensor import Tensor
from sim.perf.memory import kv_groups, stage_weight_bytes
from sim.perf.step_timer import TableTimer
from sim.perf.task import Formats
from sim.perf.timers.calibrated import Calibrated

HELIX = Paper(
    "Helix",
    "core-papers §2b: arXiv 2507.07120, figures 5 and 6, section 5; TensorRT-LLM docs",
    "GB200 NVL72; FP4 weights, FP8 KV; B200's kernels, TensorRT-LLM 1.3",
)
MAPPING = Paper(
    "Decode mapping",
    "core-papers §1b: arXiv 2506.05508, section 4 and figure 11",
    "GB200, FP4 weights, FP8 KV, decode at 17K of context; tensor, TEP and DEP of 1 to 64 GPUs",
)
MILLION = 1_000_000
LLAMA, LLAMA70, R1 = "llama-3.1-405b", "llama-3.1-70b", "deepseek-r1"


@cache
def timer(model: str, layout: Layout, most: int = 16) -> TableTimer:
    """The price list of a model on a GB200 rack."""
    formats = {"weights": "nvfp4", "kv": "fp8"}
    made = task(model, "gb200", layout, formats, tokens=most, sampled=most)
    return Calibrated(engine_profile="trtllm-1.3").compile(made)


def step_s(model: str, layout: Layout, batch: int, context: int, most: int = 16) -> float:
    """Seconds of a decode step with `batch` sequences on every rank."""
    ranks = layout.dp if isinstance(layout, DpAttention) else 1
    made: TableTimer = timer(model, layout, most)  # type: ignore[arg-type]
    return made.price([decode_shape(batch, context)] * ranks)


def helix() -> Iterator[Row]:
    """HX-7, HX-9, HX-11, HX-13."""
    tp = [Tensor(tp=n, ep=n) for n in (8, 16, 32, 64)]
    limit = min(step_s(R1, x, 1, MILLION, 64) for x in tp)
    grid = [Helix(kvp=64, ep=e) for e in (16, 32, 64)]
    users = max(
        (b for b in range(1, 65) for g in grid if step_s(R1, g, b, MILLION, 64) <= limit), default=0
    )
    yield HELIX.between(
        "HX-7", "DeepSeek-R1 at 10⁶ of context: Helix's users at the baseline's quickest step",
        (16.0, 64.0), float(users), cause="see the README, 'Floors of products'",
    )  # fmt: skip
    pairs = {
        kvp: (
            step_s(LLAMA, Helix(kvp=kvp, tpa=8), 8, MILLION),
            step_s(LLAMA, KvParallel(kvp=kvp, tp=8), 8, MILLION),
            float(timer(LLAMA, KvParallel(kvp=kvp, tp=8)).tables[0].linear[8]),
        )
        for kvp in (1, 2, 4, 8)
    }
    shares = [linear / medha for _, medha, linear in pairs.values()]
    yield HELIX.shape(
        "HX-9", "Llama-405B at 10⁶, batch 8, KVP 1 to 8 × TP8: step of Medha over Helix",
        "never below 1; Medha is bound by weights as GPUs are added",
        [medha / ours for ours, medha, _ in pairs.values()],
        all(medha >= ours * (1 - 1e-9) for ours, medha, _ in pairs.values())
        and shares == sorted(shares) and shares[-1] > 0.5,
        cause="see the README, 'Floors of products'; on the paper's own roofline it holds "
        "(tests/validation/test_helix.py)",
    )  # fmt: skip
    found = {
        gpus: min(
            (Helix(kvp=gpus // a, tpa=a) for a in (1, 2, 4, 8)),
            key=lambda g: step_s(LLAMA, g, 8, 2000),
        )
        for gpus in (8, 16, 32)
    }
    yield HELIX.shape(
        "HX-11", "Llama-405B at 2,000 of context, batch 8, 8 to 32 GPUs: best KVP",
        "as few KV groups as the heads allow: 1, 2, 4", [g.kvp for g in found.values()],
        all(g.kvp == max(1, n // 8) for n, g in found.items()),
        cause="see the README, 'Floors of products'",
    )  # fmt: skip
    contexts = (4_000, 16_000, 64_000, 256_000)
    for gpus in (16, 32, 64):
        gains = [
            step_s(LLAMA, Tensor(tp=gpus), 8, c) / step_s(LLAMA, Helix(kvp=gpus // 8, tpa=8), 8, c)
            for c in contexts
        ]
        yield HELIX.shape(
            f"HX-13 {gpus}", f"Llama-405B, {gpus} GPUs, batch 8: TP over Helix at 4K to 256K",
            "gains appear above about 64K", gains,
            gains == sorted(gains) and gains[1] < 1 < gains[3],
            cause="see the README, 'Floors of products'",
        )  # fmt: skip


# ---- mappings along a front


Point = tuple[float, float, Layout, int]
"""Tokens/s/user, tokens/s/GPU, layout, sequences of the engine."""


def front(points: Iterable[Point]) -> list[Point]:
    """Those that no other beats on both axes, from the quickest to the cheapest."""
    kept: list[Point] = []
    for p in sorted(points, key=lambda p: (-p[0], -p[1])):
        if not kept or p[1] > kept[-1][1]:
            kept.append(p)
    return kept


@cache
def mapped(model: str, domain: int) -> tuple[Point, ...]:
    """The front of decode engines of up to `domain` GPUs within one NVLink domain."""
    out = []
    for layout, gpus in _layouts(model, domain):
        ranks = layout.dp if isinstance(layout, DpAttention) else 1
        for exponent in range(11):
            batch = 2**exponent
            if _bytes(model, layout, batch) > 0.9 * 186 * 2**30:
                break
            try:
                seconds = step_s(model, layout, batch, 17_408, 1024)
            except ScenarioError:
                continue
            out.append((1 / seconds, ranks * batch / seconds / gpus, layout, ranks * batch))
    return tuple(front(out))


def _layouts(model: str, domain: int) -> Iterator[tuple[Layout, int]]:
    gpus = 1
    while gpus <= min(domain, 64):
        yield Tensor(tp=gpus), gpus
        if model == R1 and gpus > 1:
            yield Tensor(tp=gpus, ep=gpus), gpus
            yield DpAttention(dp=gpus), gpus
        gpus *= 2


def _bytes(model: str, layout: Layout, batch: int) -> float:
    """On one GPU, with so many sequences of 18,432 tokens on every rank."""
    made = load_model(model)
    nvfp4, fp8 = load_format("nvfp4"), load_format("fp8")
    spread, formats = layout.plan(made), Formats(nvfp4, nvfp4, fp8)
    weights = stage_weight_bytes(made, spread, formats, 0, made.layers)
    unit, groups = kv_groups(made, spread, formats, 16)
    return weights + batch * (18_432 // 16) * unit * sum(g.units for g in groups)


def mapping() -> Iterator[Row]:
    """BTB-13 and BTB-14."""
    llama, r1 = mapped(LLAMA70, 72), mapped(R1, 72)
    widths = [x.tp for _, _, x, _ in llama if isinstance(x, Tensor)]
    batches = [b for *_, b in llama]
    yield MAPPING.shape(
        "BTB-13 Llama-70B", "Llama-70B: TP from the quickest point of the front to the cheapest",
        "64 down to 2, batch rising", widths,
        widths == sorted(widths, reverse=True) and widths[0] == 64 and widths[-1] == 2
        and batches[0] <= batches[-1],
        cause="see the README, 'Floors of products'",
    )  # fmt: skip
    quick, cheap = r1[0][2], r1[-1][2]
    yield MAPPING.shape(
        "BTB-13 R1", "DeepSeek-R1: layouts from the quickest point of the front to the cheapest",
        "TP attention at the quick end, DP attention at the cheap end, EP throughout",
        ", ".join(dict.fromkeys(x.plan(load_model(R1)).text for _, _, x, _ in r1)),
        isinstance(quick, Tensor) and isinstance(cheap, DpAttention)
        and all(getattr(x, "ep", 2) > 1 for _, _, x, _ in r1),
        cause="see the README, 'Floors of products'",
    )  # fmt: skip
    for model, words in ((R1, "mid latency"), (LLAMA70, "low latency")):
        wide, narrow = mapped(model, 72), mapped(model, 8)
        gains = [_best(wide, s) / _best(narrow, s) for _, s in _thirds(narrow)]
        ahead = wide[0][0] / narrow[0][0]
        where = gains[1] >= gains[0] if model == R1 else ahead > 1.0
        yield MAPPING.shape(
            f"BTB-14 {model}", f"{model}: NVLink domain of 72 over one of 8, tokens/s/GPU at "
            f"low, middle "
            "and high interactivity of the latter's front; and quickest step",
            f"never worse; gains at {words}", [*gains, ahead],
            all(g >= 1 - 1e-9 for g in gains) and ahead >= 1 - 1e-9 and where,
            cause="see the README, 'Floors of products'",
        )  # fmt: skip


def _thirds(points: tuple[Point, ...]) -> list[tuple[int, float]]:
    """Interactivity at the cheap end, in the middle (geometric), at the quick end."""
    low, high = points[-1][0], points[0][0]
    return [(i, s) for i, s in enumerate((low, (low * high) ** 0.5, high))]


def _best(points: tuple[Point, ...], interactivity: float) -> float:
    """Most tokens/s/GPU at that interactivity or a better one."""
    return max((p[1] for p in points if p[0] >= interactivity * (1 - 1e-12)), default=0.0)
