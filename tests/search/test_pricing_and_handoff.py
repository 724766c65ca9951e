"""Arrays of steps, and KV between pools."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from helpers import generated, planned, serving

from sim.perf.kv_route import kv_route
from sim.perf.shape import StepShape
from sim.scenario.build import build
from sim.search.handoff import handoff
from sim.search.pricing import decode_seconds


def test_an_array_of_decode_steps_has_the_prices_of_the_engine() -> None:
    pool = planned(serving(generated(1, 1, 1, "at_once"))).pools[0]
    timer = pool.settings.timer.compile(pool.tasks[0])
    batch, context = np.array([1, 7, 64]), np.array([100.0, 3000.0, 512.0])
    priced = decode_seconds(timer, batch, context)
    for n, tokens, seconds in zip(batch, context, priced, strict=True):
        shape = StepShape(decodes=int(n), context_tokens=int(n * tokens), sampled=int(n))
        assert seconds == timer.price([shape])


LAYOUTS: list[tuple[str, Any, Any]] = [
    ("llama-3.1-8b", "single", "single"),
    ("llama-3.1-8b", {"tensor": {"tp": 2}}, {"tensor": {"tp": 4}}),
    ("llama-3.1-8b", {"tensor": {"tp": 4}}, {"tensor": {"tp": 2}}),
    ("llama-3.1-8b", {"tensor": {"pp": 2}}, {"tensor": {"pp": 2}}),
    ("qwen3-30b-a3b", {"tensor": {"tp": 2}}, {"tensor": {"tp": 8}}),
    ("qwen3-30b-a3b", {"tensor": {"tp": 2}}, {"dp_attention": {"dp": 4}}),
    ("llama-3.1-8b", {"tensor": {"tp": 2}}, {"helix": {"kvp": 2, "tpa": 4}}),
    ("llama-3.1-8b", {"context_parallel": {"cp": 2, "tp": 2}}, {"tensor": {"tp": 4}}),
]


@pytest.mark.parametrize(("model", "first", "then"), LAYOUTS)
def test_kv_takes_the_way_of_a_run(model: str, first: Any, then: Any) -> None:
    plan = planned(
        serving(
            generated(1, 1, 2, "at_once"),
            model=model,
            topology={"name": "dgx_h100", "nodes": 2},
            pools={"prefill": {"layout": first}, "decode": {"layout": then}},
            deployment="disaggregated",
        )
    )
    src, dst = plan.pools
    moved = handoff(plan.topology, src, dst, 1000)
    pools = build(plan, None).pools
    route = kv_route(pools[0], 0, 0, pools[1], 0, 0)
    bundle = plan.topology.bundle(route.pairs)
    assert moved.nbytes == pytest.approx(route.nbytes(1000))
    assert moved.bytes_per_s == pytest.approx(bundle.alone_bytes_per_s)
    assert moved.latency_s == pytest.approx(bundle.latency_s)
