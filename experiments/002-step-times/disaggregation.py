"""Prefill and decode apart against together: fronts of tokens/s/GPU over tokens/s/user."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cache

import numpy as np
from machines import TRTLLM, decode_s
from row import FAIR, Paper, Row

from sim.errors import ScenarioError
from sim.search.answer import Estimate
from sim.search.design import design
from sim.search.estimate import estimate
from sim.search.point import Point
from sim.search.rate_matching import Side, tokens_per_s_per_gpu
from sim.search.room import room

BUZZ = Paper(
    "Disaggregation",
    "core-papers §1b: arXiv 2506.05508, figures 1, 6, 7, 8",
    "GB200, NVFP4 and FP8 KV, TensorRT-LLM 1.3 kernels; engines of 1 to 16 GPUs; first tokens "
    "within "
    "10 s; together: the better of chunked prefill and prompts first",
)
SILICON = Paper(
    "Disaggregation",
    "core-papers §1b: TensorRT-LLM tech blog 5",
    "GB200, NVFP4 experts and FP8 KV, 4 to 16 GPUs an engine; ideal rate matching; no MTP",
)
R1 = "deepseek-r1"
USERS = (20.0, 30.0, 50.0, 80.0)
"""Tokens/s/user at which fronts are compared."""
FIRST_TOKEN_S = 10.0


@dataclass(frozen=True, slots=True)
class Front:
    """(tokens/s/user, tokens/s/GPU) of every point that was looked at."""

    points: tuple[tuple[float, float], ...]

    def at(self, user: float) -> float:
        """Tokens/s/GPU of the front at that interactivity, straight lines between its points; 0
        beyond its quickest point."""
        kept: list[tuple[float, float]] = []
        for u, g in sorted(self.points, reverse=True):
            if not kept or g > kept[-1][1]:
                kept.append((u, g))
        if not kept or user > kept[0][0]:
            return 0.0
        users, rates = zip(*reversed(kept), strict=True)
        return float(np.interp(user, users, rates))


def _layouts(model: str, most: int) -> Iterator[object]:
    moe = model == R1
    for n in (1, 2, 4, 8, 16):
        if n > most:
            return
        if moe and n >= 4:
            yield {"dp_attention": {"dp": n}}
            yield {"tensor": {"tp": n, "ep": n}}
        if not moe and n <= 8:
            yield "single" if n == 1 else {"tensor": {"tp": n}}


def _formats(model: str) -> dict[str, str]:
    dense = {"weights": "nvfp4", "kv": "fp8"}
    return {"weights": "fp8", "experts": "nvfp4", "kv": "fp8"} if model == R1 else dense


def _clients(layout: object, osl: int) -> Iterator[int]:
    """Powers of two on every rank; of four where long answers make long schedules."""
    attention = layout.get("dp_attention") if isinstance(layout, dict) else None
    ranks = int(attention["dp"]) if attention else 1
    for exponent in range(0, 9, 1 if osl <= 2048 else 2):
        yield 2**exponent * ranks


def _point(model: str, isl: int, osl: int, clients: int, layout: object) -> Point:
    engine = {"max_model_len": isl + osl}
    return Point(model, "gb200", isl, osl, clients, layout, _formats(model), TRTLLM, engine)


@cache
def together(
    model: str, isl: int, osl: int, batcher: str = "", most: int = 16, budget: int = 8192
) -> Front:
    """Engines that serve whole requests, in chunks of `budget` or prompts first."""
    found = []
    for name in (batcher,) if batcher else ("chunked_prefill", "prefill_first"):
        for layout in _layouts(model, most):
            for clients in _clients(layout, osl):
                point = _point(model, isl, osl, clients, layout)
                engine = dict(point.engine) | {"batcher": name, "max_num_batched_tokens": budget}
                found += _kept(replace(point, engine=engine))
    return Front(tuple(found))


@cache
def apart(model: str, isl: int, osl: int, least: int = 1, most: int = 16) -> Front:
    """Pools matched without whole numbers (the closed form of blog 5): the prefill engine with most
    prompts/s/GPU within the limit of the first token, any decode engine. KV is sent layer by layer
    while later layers compute, so that nothing of it shows (arXiv 2506.05508, section 3.2)."""
    prefill = max(_layouts(model, 8), key=lambda x: _rate(model, isl, str(x)))
    gpus = _gpus(prefill)
    first = Side(gpus * _rate(model, isl, str(prefill)), gpus)
    found = []
    for layout in _layouts(model, most):
        for clients in _clients(layout, osl) if _gpus(layout) >= least else ():
            step = _decode(_point(model, isl, osl, clients, layout))
            if step:
                second = Side(clients / ((osl - 1) * step), _gpus(layout))
                found.append((1.0 / step, tokens_per_s_per_gpu(first, second, osl)))
    return Front(tuple(found))


def _decode(point: Point) -> float | None:
    """Seconds of a decode step, None where not all clients fit."""
    try:
        (pool,) = design(point).plan.pools
        space = room(pool, point.prompt_tokens, point.output_tokens)
    except ScenarioError:
        return None
    per_rank = point.concurrency // pool.spread.ranks
    if per_rank > space.kv_sequences:
        return None
    return decode_s(point, per_rank, point.prompt_tokens + point.output_tokens // 2)


def _kept(point: Point) -> list[tuple[float, float]]:
    made = _answer(point)
    if made is None or made.limits or made.ttft_s > FIRST_TOKEN_S:
        return []
    return [(made.tokens_per_s_per_user, made.output_tokens_per_s_per_gpu)]


def _answer(point: Point) -> Estimate | None:
    try:
        return estimate(point)
    except ScenarioError:
        return None


def _gpus(layout: object) -> int:
    if not isinstance(layout, dict):
        return 1
    (settings,) = layout.values()
    return int(settings.get("dp", 1) * settings.get("tp", 1))


@cache
def _rate(model: str, isl: int, layout: str) -> float:
    """Prompts/s/GPU with two prompts a GPU at once; 0 where the first token takes too long."""
    made = ast.literal_eval(layout) if layout.startswith("{") else layout
    n = _gpus(made)
    best = _answer(_point(model, isl, 1, 2 * n, made))
    return 0.0 if best is None or best.ttft_s > FIRST_TOKEN_S else best.requests_per_s / n


def gain(model: str, isl: int, osl: int, least: int = 1, most: int = 16) -> dict[float, float]:
    """Apart over together by tokens/s/user, where both reach it."""
    split, whole = apart(model, isl, osl, least, most), together(model, isl, osl, "", most)
    return {u: split.at(u) / whole.at(u) for u in USERS if whole.at(u) and split.at(u)}


# ---- rows


def rows() -> Iterator[Row]:
    """BTB-9 to BTB-12 and BTB-16 to BTB-18."""
    yield from _by_model()
    yield from _by_traffic()
    yield from _piggybacked()
    yield from _silicon()


def _by_model() -> Iterator[Row]:
    sizes = ("llama-3.1-8b", "llama-3.1-70b", "llama-3.1-405b")
    for user in USERS[:3]:
        gains = [gain(m, 4096, 256).get(user, 0.0) for m in sizes]
        yield BUZZ.shape(
            f"BTB-9 {user:g}",
            f"Llama 8B, 70B, 405B at 4096/256, {user:g} tokens/s/user: apart over together",
            "grows with size; 8B small", gains, gains == sorted(gains) and gains[0] < 1.1,
        )  # fmt: skip


def _by_traffic() -> Iterator[Row]:
    traffic = ((16384, 2048), (16384, 16384), (2048, 2048), (2048, 16384))
    gains = [max(gain(R1, *t, most=8).values(), default=0.0) for t in traffic]
    small = f"{BUZZ.assumed}, here of 4 and 8 GPUs"
    yield BUZZ.shape(
        "BTB-10", "DeepSeek-R1 at 16K/2K, 16K/16K, 2K/2K, 2K/16K: largest gain",
        "largest at 16K/2K, least at 2K/16K", gains,
        gains[0] == max(gains) and gains[-1] == min(gains), assumed=small,
    )  # fmt: skip
    heavy, light = gains[0], max(gain(R1, 1024, 32768, most=8).values(), default=0.0)
    yield BUZZ.shape(
        "BTB-11", "DeepSeek-R1 at 16K/2K and 1K/32K: largest gain", "clear, and small",
        [heavy, light], heavy > 1.2 and heavy > light and light < 1.2, assumed=small,
    )  # fmt: skip


def _piggybacked() -> Iterator[Row]:
    """Chunks of 512 tokens beside decodes, over the best of both ways together."""
    shares = []
    for model in (R1, "llama-3.1-70b"):
        chunked = together(model, 16384, 2048, "chunked_prefill", 8, 512)
        best = together(model, 16384, 2048, "", 8)
        shares.append(min(chunked.at(u) / best.at(u) for u in USERS if best.at(u)))
    yield BUZZ.shape(
        "BTB-12", "R1 and Llama-70B at 16K/2K: piggybacked over best together, least by "
        "interactivity",
        "far below 1 for MLA, close to 1 for GQA", shares,
        shares[0] < 0.75 * shares[1] and shares[1] > 0.85,
        assumed=f"chunks of 512 tokens, engines of up to 8 GPUs; {BUZZ.assumed}",
        cause="see the README, 'Chunks of MLA'",
    )  # fmt: skip


def _silicon() -> Iterator[Row]:
    for name, isl, osl, theirs, user in (
        ("BTB-16", 4400, 1200, (1.4, 1.8), 0.0),
        ("BTB-17 4 GPUs", 8192, 256, (1.0, 1.73), 4.0),
        ("BTB-17 8 GPUs", 8192, 256, (1.0, 2.0), 8.0),
        ("BTB-18", 4096, 1024, (1.7, 1.7), 50.0),
    ):
        if name.startswith("BTB-17"):
            split = apart(R1, isl, osl, int(user), int(user))
            whole = together(R1, isl, osl)
            found = [split.at(u) / whole.at(u) for u in USERS if whole.at(u) and split.at(u)]
            what = f"DeepSeek-R1 {isl}/{osl}, decode engines of {user:g} GPUs: up to"
            yield SILICON.near(name, what, theirs[1], max(found, default=0.0), FAIR, cause=CAUSE)
            continue
        gains = gain(R1, isl, osl, 4)
        if user:
            what = f"DeepSeek-R1 {isl}/{osl}, at {user:g} tokens/s/user"
            yield SILICON.near(name, what, theirs[0], gains.get(user, 0.0), FAIR, cause=CAUSE,
                assumed=f"{SILICON.assumed} (theirs with)")  # fmt: skip
        else:
            what = f"DeepSeek-R1 {isl}/{osl}: gain over the front, mean"
            mean = sum(gains.values()) / len(gains)
            yield SILICON.between(name, what, theirs, mean, FAIR, cause=CAUSE)


CAUSE = "see the README, 'Disaggregation of R1'"
