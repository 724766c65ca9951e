"""Same scenario and seed in, same bytes out: again, under any hash seed, with and without leaps."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from sim.api import run
from sim.scenario.scenario import Scenario

WORKLOAD = {
    "arrivals": {"gamma": {"rate_per_s": 15, "cv": 2.0}},
    "requests": 60,
    "prompt_tokens": {"lognormal": {"mean_tokens": 600, "sigma": 1.0, "max_tokens": 2000}},
    "output_tokens": {"lognormal": {"mean_tokens": 60, "sigma": 0.8, "max_tokens": 400}},
}
TIGHT = {"max_num_seqs": 16, "max_num_batched_tokens": 512, "gpu_memory_utilization": 0.2185}
"""A KV pool of a few sequences, so that some are preempted."""
SCENARIOS: dict[str, dict[str, Any]] = {
    "aggregated": {
        "pools": {"serve": {"engines": 2, "engine": TIGHT}},
        "deployment": {"aggregated": {"router": "power_of_two"}},
    },
    "disaggregated": {
        "pools": {"prefill": {"engines": 2}, "decode": {"engines": 1, "engine": TIGHT}},
        "placement": "striped",
        "deployment": {"disaggregated": {"pair_at": "arrival", "stream": True}},
    },
}
HASH_SEEDS = ("0", "4711")


def scenario(kind: str, **changes: Any) -> Scenario:
    tree = {
        "workload": WORKLOAD,
        "model": "llama-3.1-8b",
        "topology": {"name": "dgx_h100", "nodes": 2},
        "seed": 5,
    }
    return Scenario.of(tree | SCENARIOS[kind] | changes)


def tables(folder: Path) -> dict[str, bytes]:
    found = {p.name: p.read_bytes() for p in sorted(folder.glob("*.parquet"))}
    assert {"requests.parquet", "steps.parquet", "clock.parquet"} <= set(found)
    return found


def same(one: Path, other: Path) -> None:
    first, second = tables(one), tables(other)
    assert first.keys() == second.keys()
    assert [n for n in first if first[n] != second[n]] == []


@pytest.mark.parametrize("kind", SCENARIOS)
def test_the_same_run_twice_writes_the_same_bytes(kind: str, tmp_path: Path) -> None:
    for name in ("a", "b"):
        run(scenario(kind), out=tmp_path / name, report=True)
    same(tmp_path / "a", tmp_path / "b")
    for file in ("run.json", "summary.json", "topology.json", "scenario.yaml", "report.html"):
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes()


@pytest.mark.parametrize("kind", SCENARIOS)
def test_leaping_changes_no_byte_of_a_table(kind: str, tmp_path: Path) -> None:
    run(scenario(kind, leap=True), out=tmp_path / "leap")
    stepped = run(scenario(kind, leap=False), out=tmp_path / "step")
    assert stepped.summary["preemptions"] > 0
    same(tmp_path / "leap", tmp_path / "step")


@pytest.mark.parametrize("kind", SCENARIOS)
def test_another_seed_is_another_run(kind: str, tmp_path: Path) -> None:
    run(scenario(kind), out=tmp_path / "a")
    run(scenario(kind, seed=6), out=tmp_path / "b")
    assert tables(tmp_path / "a")["requests.parquet"] != tables(tmp_path / "b")["requests.parquet"]


@pytest.mark.parametrize("kind", SCENARIOS)
def test_the_hash_seed_of_python_does_not_matter(kind: str, tmp_path: Path) -> None:
    file = tmp_path / "scenario.yaml"
    file.write_text(scenario(kind).to_yaml())
    for seed in HASH_SEEDS:
        subprocess.run(
            [sys.executable, "-m", "sim", "run", file, "--out", tmp_path / seed],
            env=os.environ | {"PYTHONHASHSEED": seed},
            check=True,
            capture_output=True,
        )
    one, other = (tmp_path / seed for seed in HASH_SEEDS)
    same(one, other)
    for file in ("summary.json", "run.json", "assumptions.json", "report.html"):
        assert (one / file).read_bytes() == (other / file).read_bytes()
