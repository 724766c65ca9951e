"""Real runs, measured: the parts of every latency sum to it, whatever the way of serving."""

from pathlib import Path
from typing import Any

import pytest

from sim.measure.summary import measure
from sim.record.run_folder import RunFolder
from sim.scenario.planning import plan
from sim.scenario.scenario import Scenario
from sim.scenario.simulation import simulate

BASE: dict[str, Any] = {
    "name": "measured",
    "workload": {
        "requests": 80,
        "arrivals": {"poisson": {"rate_per_s": 40}},
        "prompt_tokens": {"lognormal": {"mean_tokens": 900, "cv": 1.0, "max_tokens": 4000}},
        "output_tokens": {"lognormal": {"mean_tokens": 60, "cv": 0.8}},
    },
    "model": "llama-3.1-8b",
    "topology": {"name": "dgx_h100", "nodes": 2},
}
ONE: dict[str, Any] = {"deployment": {"aggregated": {}}}
TIGHT = {"gpu_memory_utilization": 0.23, "enable_prefix_caching": False}
SPLIT: dict[str, Any] = {"pools": {"prefill": {"engines": 2}, "decode": {"engine": TIGHT}}}

WAYS: dict[str, dict[str, Any]] = {
    "chunked": ONE | {"pools": {"serve": {}}},
    "prefill_first": ONE | {"pools": {"serve": {"engine": {"batcher": "prefill_first"}}}},
    "preempting": ONE | {"pools": {"serve": {"engine": TIGHT}}},
    "pipelined": ONE
    | {
        "pools": {
            "serve": {
                "layout": {"tensor": {"pp": 4}},
                "engine": {"max_num_batched_tokens": 256},
            }
        }
    },
    "ranks": ONE
    | {"model": "qwen3-30b-a3b", "pools": {"serve": {"layout": {"dp_attention": {"dp": 4}}}}},
    "handed_off": SPLIT | {"deployment": {"disaggregated": {}}},
    "shown_by_decode": SPLIT
    | {"deployment": {"disaggregated": {"first_token": "decode", "pair_at": "arrival"}}},
    "stopped": ONE | {"pools": {"serve": {}}, "until_s": 1.0},
}


@pytest.mark.parametrize("way", WAYS)
def test_a_simulated_run_adds_up(way: str, tmp_path: Path) -> None:
    run = RunFolder.create(tmp_path)
    simulate(plan(Scenario.of(BASE | WAYS[way])), run)
    summary = measure(run)  # raises when anything does not
    counts = summary["requests"]
    assert counts["finished"] > 0
    assert (counts["unfinished"] > 0) == (way == "stopped")
    for whole in ("ttft_s", "e2e_s"):
        parts = summary["attribution"][whole]
        assert all(seconds >= -1e-12 for seconds in parts.values()), parts
        if counts["finished"] == counts["arrived"]:
            assert sum(parts.values()) == pytest.approx(summary[whole]["mean"], abs=1e-9)
    if way == "preempting":
        assert summary["preemptions"] > 0
        assert summary["attribution"]["e2e_s"]["recompute_s"] > 0
    if way in ("handed_off", "shown_by_decode"):
        assert summary["transfers"]["count"] > 0
        in_ttft = summary["attribution"]["ttft_s"]["transfer_s"] > 0
        assert in_ttft == (way == "shown_by_decode")
