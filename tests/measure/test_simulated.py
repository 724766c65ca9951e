"""Real runs, measured: the parts of every latency sum to it, whatever the way of serving."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sim.measure.gaps import Tokens
from sim.measure.latency import Requests
from sim.measure.ledger import Ledger
from sim.measure.stays import Stays
from sim.measure.summary import measure
from sim.perf.speculation.acceptance import iid_length
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

LAW = {"iid": 0.75}
EAGLE: dict[str, Any] = {"eagle": {"acceptance": LAW}}
AUTO: dict[str, Any] = {"eagle": {"acceptance": LAW, "draft_tokens": "auto"}}

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
    "speculating": ONE | {"pools": {"serve": {"speculation": EAGLE}}},
    "speculating, preempting": ONE | {"pools": {"serve": {"speculation": EAGLE, "engine": TIGHT}}},
    "speculating, prefill_first": ONE
    | {"pools": {"serve": {"speculation": EAGLE, "engine": {"batcher": "prefill_first"}}}},
    "speculating, pipelined": ONE
    | {"pools": {"serve": {"speculation": EAGLE, "layout": {"tensor": {"pp": 4}}}}},
    "speculating, ranks": ONE
    | {
        "model": "qwen3-30b-a3b",
        "pools": {"serve": {"speculation": EAGLE, "layout": {"dp_attention": {"dp": 4}}}},
    },
    "speculating, handed_off": {
        "pools": {"prefill": {"engines": 2}, "decode": {"engine": TIGHT, "speculation": AUTO}},
        "deployment": {"disaggregated": {}},
    },
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
    if "preempting" in way:
        assert summary["preemptions"] > 0
        assert summary["attribution"]["e2e_s"]["recompute_s"] > 0
    if way.startswith("speculating"):
        _tells_what_speculation_did(run, summary)
    if way in ("handed_off", "shown_by_decode"):
        assert summary["transfers"]["count"] > 0
        in_ttft = summary["attribution"]["ttft_s"]["transfer_s"] > 0
        assert in_ttft == (way == "shown_by_decode")


def _tells_what_speculation_did(run: RunFolder, summary: dict[str, Any]) -> None:
    """Acceptance near the closed form; gaps of all tokens, those of bursts included, sum to the
    time between first and last tokens; a burst is one gap, whatever came with it."""
    did, steps = summary["speculation"], run.columns("steps")
    assert 1 <= did["draft_length"] <= 8
    assert did["acceptance_length"] == pytest.approx(iid_length(0.75, 3), rel=0.25)
    assert did["speedup_over_plain"] > 1.0
    assert did["accepted"] == steps["accepted"].sum()
    assert did["drafts"] == (steps["n"] * steps["decodes"] * steps["draft_tokens"]).sum()
    assert summary["attribution"]["e2e_s"]["draft_s"] > 0
    requests = Requests.read(run)
    tokens = Tokens.read(run, Stays.read(run, Ledger.read(run)), requests)
    gaps, bursts = tokens.gaps(), tokens.gaps(bursts=True)
    whole = np.nansum(requests["end_s"] - requests["first_token_s"])
    assert gaps.total == pytest.approx(whole)
    assert bursts.total == pytest.approx(whole)
    more = int(np.maximum(requests["generated_tokens"] - 1, 0).sum())
    assert gaps.count == more
    assert gaps.count > 1.5 * bursts.count
    assert tokens.made() == requests["generated_tokens"].sum() == summary["output_tokens"]
    assert summary["icl_s"]["mean"] > 1.5 * summary["itl_s"]["mean"]
    made = sum(p["output_tokens_per_s"] for p in summary["pools"].values())
    again = summary["recomputed_tokens"] > 0
    assert made == pytest.approx(summary["output_tokens_per_s"], rel=0.05 if again else 1e-9)
