"""Context parallelism on H100 nodes, arXiv 2411.01783: Llama-3 405B, tensor parallel in a node of
eight, the prompt over the nodes."""

from __future__ import annotations

from functools import cache

import pytest

from sim.catalog.gpu import load_gpu
from sim.catalog.model import load_model
from sim.network.topology import load_topology
from sim.perf.layouts.context_parallel import ContextParallel
from sim.perf.shape import StepShape, pairs
from sim.perf.task import Precision, PriceTask
from sim.perf.timers.roofline import Roofline
from sim.scenario.placing import wires

WEIGHTS = ("fp8", "bf16")
"""The paper quantises the feed-forward layers alone: between both."""


@cache
def prefill_s(nodes: int, tokens: int, weights: str) -> float:
    """Seconds of one prompt."""
    model, topology = load_model("llama-3.1-405b"), load_topology("dgx_h100", nodes=nodes)
    spread = ContextParallel(cp=nodes, tp=8).plan(model)
    among = wires(topology, spread, tuple(range(spread.devices)))
    formats = Precision(weights=weights).formats(model)
    task = PriceTask(model, spread, load_gpu("h100"), formats, among, tokens, 8)
    shape = StepShape(
        prefills=1,
        prefill_tokens=tokens,
        prefill_pairs=pairs(0, tokens),
        prefill_kv_tokens=tokens,
        sampled=1,
    )
    return Roofline().compile(task).price([shape])


@pytest.mark.parametrize("weights", WEIGHTS)
def test_a_million_tokens_on_sixteen_nodes_take_77_seconds(weights: str) -> None:
    """Abstract: 77 s. Within 15 %."""
    assert prefill_s(16, 1_000_000, weights) == pytest.approx(77.0, rel=0.15)


@pytest.mark.parametrize("weights", WEIGHTS)
def test_prefill_scales_with_the_nodes(weights: str) -> None:
    """Abstract: near-linear, 93 % efficiency on 16 nodes at a million tokens."""
    whole = prefill_s(1, 131_072, weights)
    for nodes in (2, 4, 8, 16):
        assert 0.9 < whole / (nodes * prefill_s(nodes, 131_072, weights)) <= 1.0 + 1e-9


@pytest.mark.parametrize("weights", WEIGHTS)
def test_128k_tokens_on_sixteen_nodes_take_3_8_seconds(weights: str) -> None:
    """Abstract: 3.8 s. Within a half, and below: kernels of 8192 tokens a node are taken at the
    rates of large ones, and hops of the ring cost nothing but their bytes."""
    assert 0.5 < prefill_s(16, 131_072, weights) / 3.8 < 1.0
