"""A few small scenarios whose numbers are known: they change only when somebody means it.

`pytest tests/golden --update-golden` writes the files anew. That the numbers are right is shown
elsewhere: each scenario names the tests that hold it to theory.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from helpers import Run, generated, play, serving

HERE = Path(__file__).parent
POISSON = {"poisson": {"rate_per_s": 6.0}}


def mixed(requests: int, **arrivals: Any) -> dict[str, Any]:
    workload = generated(requests, 1, 1, arrivals or POISSON)
    workload["prompt_tokens"] = {"uniform": {"min_tokens": 50, "max_tokens": 1500}}
    workload["output_tokens"] = {"uniform": {"min_tokens": 5, "max_tokens": 150}}
    return workload


SCENARIOS: dict[str, dict[str, Any]] = {
    # tests/properties/test_runs.py, tests/theory/test_engine_limits.py (roofline)
    "aggregated": serving(mixed(60)),
    # tests/cluster/test_kv_handoff.py, tests/theory/test_network_fairness.py
    "disaggregated": serving(
        mixed(60),
        topology={"name": "dgx_h100", "nodes": 2},
        pools={"prefill": {"engines": 2}, "decode": {"engines": 1}},
        placement="striped",
        deployment="disaggregated",
    ),
    # tests/theory/test_engine_limits.py (pipelines)
    "pipeline": serving(
        mixed(30, closed_loop={"concurrency": 8}),
        topology="dgx_h100",
        pools={"serve": {"layout": {"tensor": {"tp": 2, "pp": 2}}}},
    ),
    # tests/perf/test_faces.py (lockstep), tests/theory/test_engine_limits.py (lockstep, experts)
    "experts in lockstep": serving(
        mixed(60),
        model="qwen3-30b-a3b",
        topology="dgx_h100",
        pools={"serve": {"layout": {"dp_attention": {"dp": 4}}}},
    ),
    # tests/theory/test_speculative_decoding.py, tests/properties/test_speculative_runs.py
    "speculation": serving(
        mixed(60),
        pools={"serve": {"speculation": {"eagle": {"acceptance": {"iid": 0.75}}}}},
    ),
    # tests/engine/test_lane.py (windows)
    "windows": serving(
        mixed(40),
        model="gpt-oss-120b",
        topology="dgx_h100",
        pools={"serve": {"engine": {"max_num_seqs": 16, "batcher": "prefill_first"}}},
    ),
}


def numbers(run: Run) -> dict[str, Any]:
    """To 9 digits: the last bits differ between versions of numpy."""
    r, steps, transfers = run.requests, run.table("steps"), run.table("transfers")
    ttft = r["first_token_s"] - r["arrival_s"]
    seconds = {
        "ttft_mean_s": ttft.mean(),
        "ttft_max_s": ttft.max(),
        "e2e_mean_s": (r["end_s"] - r["arrival_s"]).mean(),
        "last_end_s": r["end_s"].max(),
        "attention_s": steps["attention_s"].sum(),
        "linear_s": steps["linear_s"].sum(),
        "experts_s": steps["experts_s"].sum(),
        "collective_s": steps["collective_s"].sum(),
        "transfers_s": (transfers["end_s"] - transfers["start_s"]).sum(),
    }
    return {name: float(f"{value:.9g}") for name, value in seconds.items()} | {
        "finished": int((r["state"] == "finished").sum()),
        "steps": len(run.table("clock")),
        "decode_tokens": int((steps["n"] * steps["decodes"]).sum()),
        "prefill_tokens": int((steps["n"] * steps["prefill_tokens"]).sum()),
    }


@pytest.mark.parametrize("name", SCENARIOS)
def test_a_known_scenario_gives_the_known_numbers(
    name: str, request: pytest.FixtureRequest
) -> None:
    path = HERE / f"{name.replace(' ', '_')}.json"
    found = numbers(play(SCENARIOS[name]))
    if request.config.getoption("--update-golden"):
        path.write_text(json.dumps(found, indent=2) + "\n")
    assert path.exists(), "run pytest tests/golden --update-golden and look at the new file"
    known = json.loads(path.read_text())
    assert found == pytest.approx(known, rel=1e-8)
