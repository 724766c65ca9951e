"""Helix parallelism, arXiv 2507.07120: appendix A's roofline and the shapes of its figures, out of
compiled price lists.

The GPU is the paper's: 8000 GB/s, everything in FP4 at full rates, no launches, no host, and wires
without latency of their own software. Communication is left out where the paper leaves it out.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pytest
import yaml

from sim.catalog.files import find
from sim.catalog.gpu import Gpu, load_gpu
from sim.catalog.model import Model, load_model
from sim.network.collectives import Line, Tuning
from sim.network.topology import Topology, load_topology
from sim.perf.helix import HelixRoofline, all_to_all_elements, hop_b_seconds
from sim.perf.kv_exchange import MESSAGES, KvExchange
from sim.perf.layer_work import STATISTICS_BYTES, partial_results
from sim.perf.layouts import Layout
from sim.perf.layouts.helix import Helix
from sim.perf.layouts.kv_parallel import KvParallel
from sim.perf.layouts.tensor import Tensor
from sim.perf.shape import StepShape
from sim.perf.step_timer import TableTimer
from sim.perf.task import Precision, PriceTask
from sim.perf.timers.roofline import Roofline
from sim.scenario.placing import wires

BATCH, Q, K, HEAD, WIDTH = 8, 128, 8, 128, 65536
FREE = Roofline(
    tensor=1.0, hbm=1.0, attention_tensor=1.0, attention_hbm=1.0, launch_s=0.0, host_s=0.0
)
PAPER = HelixRoofline(Q, K, HEAD, WIDTH, bytes_per_value=0.5, bytes_per_s=8e12)
MILLION = 1_000_000


@dataclass(frozen=True)
class Point:
    """A layout of a model, and its price list."""

    task: PriceTask
    timer: TableTimer


@cache
def gpu() -> Gpu:
    figures: dict[str, Any] = {
        "name": "paper",
        "architecture": "blackwell",
        "flops_per_s": dict.fromkeys(("bf16", "fp8", "fp4"), "10000 TFLOP/s"),
        "hbm_bytes": "186 GiB",
        "hbm_bytes_per_s": "8000 GB/s",
        "sm_count": 148,
        "l2_bytes": "126 MiB",
        "scale_up_bytes_per_s": "900 GB/s",
        "scale_up_domain": 72,
        "network_bytes_per_s": "50 GB/s",
        "pcie_bytes_per_s": "64 GB/s",
        "power_w": "1000 W",
    }
    named = {k for k in figures if k not in ("name", "architecture")}
    figures["sources"] = dict.fromkeys(sorted(named), "arXiv 2507.07120, appendix A, or GB200")
    with TemporaryDirectory() as folder:
        path = Path(folder) / "paper.yaml"
        path.write_text(yaml.safe_dump(figures))
        return load_gpu(str(path))


@cache
def layer() -> Model:
    """One layer of figure 1."""
    config = json.loads(find("model", "llama-3.1-405b", "models", ".json").read_text())
    config |= {
        "num_hidden_layers": 1,
        "hidden_size": Q * HEAD,
        "num_attention_heads": Q,
        "num_key_value_heads": K,
        "head_dim": HEAD,
        "intermediate_size": WIDTH,
        "max_position_embeddings": 10**7,
        "vocab_size": 4096,
    }
    with TemporaryDirectory() as folder:
        path = Path(folder) / "layer.json"
        path.write_text(json.dumps(config))
        return load_model(str(path))


@cache
def machine() -> Topology:
    free = (Line(efficiency=1.0),)
    tuning = Tuning(one_shot=free, two_shot=free, in_switch=free, max_shot_bytes=1e15)
    return replace(load_topology("gb200_nvl72"), tuning=tuning)


@cache
def point(model: Model, layout: Layout, appendix: bool = False, tokens: int = 16) -> Point:
    """`appendix`: the output projection over the heads' devices alone, as in appendix A."""
    spread = layout.plan(model)
    formats = Precision(weights="fp4", kv="fp4").formats(model)
    among = wires(machine(), spread, tuple(range(spread.devices)))
    if appendix:
        spread = replace(spread, output_parallel=1)
    task = PriceTask(model, spread, gpu(), formats, among, tokens, tokens)
    return Point(task, FREE.compile(task))


def kv_us(made: Point, context: float) -> float:
    """Reading the KV cache of the batch: what attention takes per key, times the keys."""
    (price,) = made.timer.tables[0].attention
    return 1e6 * price.decode.far_key[BATCH] * BATCH * context


def weight_us(made: Point) -> float:
    """Reading the weights: the price of a layer at no tokens, on the line through one and two."""
    linear = made.timer.tables[0].linear
    return 1e6 * (2 * linear[1] - linear[2])


def decode_s(made: Point, batch: int, context: int) -> float:
    shape = StepShape(decodes=batch, context_tokens=batch * context, sampled=batch)
    return made.timer.price([shape] * made.task.spread.ranks)


@pytest.mark.parametrize(
    ("tp", "kv", "weights"),
    [(1, 1024, 237.0), (2, 512, 118.5), (4, 256, 59.2), (8, 128, 29.6), (16, 128, 14.9),
     (32, 128, 7.6), (64, 128, 3.9)],
)  # fmt: skip
def test_figure_1_left_tensor_parallelism_does_not_cut_kv_beyond_its_heads(
    tp: int, kv: float, weights: float
) -> None:
    """HX-1. The printed weights have one decimal."""
    made = point(layer(), Tensor(tp=tp))
    assert kv_us(made, MILLION) == pytest.approx(kv, rel=1e-9)
    assert weight_us(made) == pytest.approx(weights, abs=0.051)
    assert kv_us(made, MILLION) == pytest.approx(1e6 * PAPER.kv_s(BATCH, MILLION, tp))
    assert weight_us(made) == pytest.approx(1e6 * PAPER.weight_s(tp, tp))


@pytest.mark.parametrize(("context", "kv"), [(1e5, 12.8), (1e6, 128.0), (1e7, 1280.0)])
def test_figure_1_middle_kv_reads_grow_with_the_context_and_weights_do_not(
    context: float, kv: float
) -> None:
    """HX-2."""
    made = point(layer(), Tensor(tp=8))
    assert kv_us(made, context) == pytest.approx(kv, rel=1e-9)
    assert weight_us(made) == pytest.approx(29.6, abs=0.051)


@pytest.mark.parametrize(("kvp", "total"), [(1, 157.6), (2, 81.0), (4, 42.8), (8, 23.6)])
def test_figure_1_right_kv_groups_cut_reads_less_than_in_proportion(kvp: int, total: float) -> None:
    """HX-3, with the output projection over TPA as in appendix A."""
    made = point(layer(), Helix(kvp=kvp, tpa=8), appendix=True)
    assert kv_us(made, MILLION) + weight_us(made) == pytest.approx(total, rel=0.005)
    expected = PAPER.kv_s(BATCH, MILLION, 8, kvp) + PAPER.weight_s(8, 8 * kvp)
    assert kv_us(made, MILLION) + weight_us(made) == pytest.approx(1e6 * expected)


def test_the_output_projection_over_all_gpus_reads_less_than_the_appendix_says() -> None:
    """Section 2.1.2 cuts it over N = 64; 7/8 of H²/8 numbers of half a byte are saved."""
    text, appendix = (point(layer(), Helix(kvp=8, tpa=8), appendix=a) for a in (False, True))
    saved = 7 / 8 * (Q * HEAD) ** 2 / 8 * 0.5 / 8e12
    assert weight_us(appendix) - weight_us(text) == pytest.approx(1e6 * saved)


def test_figure_3_one_request_communicates_while_the_next_computes() -> None:
    """HX-4: n = 8, c = 2, m = 1.2, 25.6 → 17.2 units."""
    n, c, m = 8, 2.0, 1.2
    table = m * np.arange(n + 1)
    hidden, exposed = KvExchange((table,) * len(MESSAGES)), KvExchange((table,))
    shape = StepShape(decodes=n)
    assert exposed.seconds(n * c, 0.0, n, shape) == pytest.approx(25.6)
    assert hidden.seconds(n * c, 0.0, n, shape) == pytest.approx(17.2)
    assert hop_b_seconds(n, c, m) == pytest.approx(17.2)
    assert hop_b_seconds(n, 1.0, 2.0) == pytest.approx(1.0 + 8 * 2.0)


@pytest.mark.parametrize(("kvp", "tpa"), [(2, 8), (8, 1), (8, 8)])
def test_the_exchange_is_of_query_heads_whatever_the_context(kvp: int, tpa: int) -> None:
    """HX-5: B · H/TPA · (KVP − 1)/KVP elements, two FP32 beside each head."""
    made = point(layer(), Helix(kvp=kvp, tpa=tpa, hop_b=False))
    (one,) = made.task.model.layers
    sent = partial_results(made.task, one)
    assert sent is not None
    statistics = STATISTICS_BYTES * Q / tpa * (kvp - 1) / kvp
    elements = BATCH * (sent.bytes_per_token - statistics) / 2
    assert elements == pytest.approx(all_to_all_elements(BATCH, Q * HEAD, kvp, tpa))
    kept = []
    for context in (10**3, 10**4, 10**5, 10**6, 10**7):
        more = decode_s(made, BATCH, context)
        without = replace(made.timer.tables[0], collective=0 * made.timer.tables[0].collective)
        alone = replace(made.timer, tables=(without,))
        shape = StepShape(decodes=BATCH, context_tokens=BATCH * context, sampled=BATCH)
        kept.append(more - alone.price([shape]))
    assert kept == pytest.approx([kept[0]] * len(kept), rel=1e-6)


# ---- shapes on whole models


def best_s(layouts: list[Layout], context: int, name: str = "llama-3.1-405b") -> float:
    return min(decode_s(point(load_model(name), x), BATCH, context) for x in layouts)


def test_figure_6_helix_is_never_behind_medha_whose_weights_do_not_shrink() -> None:
    """HX-9: Llama-405B at a context of a million."""
    model = load_model("llama-3.1-405b")
    medha, linear = [], []
    for kvp in (1, 2, 4, 8):
        helix = point(model, Helix(kvp=kvp, tpa=8))
        vanilla = point(model, KvParallel(kvp=kvp, tp=8))
        assert decode_s(helix, BATCH, MILLION) <= decode_s(vanilla, BATCH, MILLION) * (1 + 1e-12)
        medha.append(decode_s(vanilla, BATCH, MILLION))
        linear.append(vanilla.timer.tables[0].linear[BATCH])
    assert len(set(linear)) == 1, "a copy reads as many weights as the original"
    assert medha[3] > 1.5 * decode_s(point(model, Helix(kvp=8, tpa=8)), BATCH, MILLION)
    assert linear[3] / medha[3] > 0.5 > linear[0] / medha[0], "weights take over"


@pytest.mark.parametrize("gpus", [8, 16])
def test_below_4k_of_context_sharing_kv_by_position_does_not_pay(gpus: int) -> None:
    """HX-11: the best arrangement has one KV group, or as few as the heads allow."""
    grids = [Helix(kvp=gpus // tpa, tpa=tpa) for tpa in (1, 2, 4, 8)]
    model = load_model("llama-3.1-405b")
    quickest = min(grids, key=lambda g: decode_s(point(model, g), BATCH, 2000))
    assert quickest.kvp == gpus // 8
    assert best_s([Tensor(tp=gpus)], 2000) <= best_s(list(grids), 2000) * (1 + 1e-12)


@pytest.mark.parametrize("gpus", [16, 32, 64])
def test_gains_appear_at_some_tens_of_thousands_of_tokens(gpus: int) -> None:
    """HX-13: TensorRT-LLM's documentation says about 64K, at low batch."""
    helix: Layout = Helix(kvp=gpus // 8, tpa=8)
    gains = [
        best_s([Tensor(tp=gpus)], c) / best_s([helix], c) for c in (4_000, 16_000, 64_000, 256_000)
    ]
    assert gains == sorted(gains)
    assert gains[1] < 1.0 < gains[2]


def test_many_more_users_at_the_baselines_quickest_point() -> None:
    """HX-7: DeepSeek-R1 at a million tokens of context, up to ×32 (16 to 64 accepted). The
    quickest baseline is tensor parallel at batch 1, every GPU of which reads the whole latent."""
    model = load_model("deepseek-r1")
    baseline = point(model, Tensor(tp=64, ep=64), tokens=64)
    limit = decode_s(baseline, 1, MILLION)
    helix = point(model, Helix(kvp=64, ep=64), tokens=64)
    users = max(b for b in range(1, 65) if decode_s(helix, b, MILLION) <= limit)
    assert 16 <= users <= 64
