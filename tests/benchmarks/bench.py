"""How fast the simulator is on this machine: `make bench`.

Every case runs in a process of its own; seconds are CPU seconds of the whole process, from the
start of Python to the measured summary, without the report. Load is relative to the rate at which
16 engines serve when all requests are there at once.
"""

from __future__ import annotations

import argparse
import cProfile
import gc
import json
import pstats
import resource
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

TRACE = Path(__file__).parents[3] / "shared/data/traces/azure_llm_2023_conv.csv.gz"
ENGINE = {"max_num_seqs": 256, "max_num_batched_tokens": 2048}


@dataclass(frozen=True)
class Case:
    """One measured run."""

    name: str
    requests: int
    load: float
    deployment: str = "aggregated"
    engines: int = 16
    leap: bool = True
    trace: bool = False
    target: str = ""


CASES = (
    Case("aggregated, 65 % load", 100_000, 0.65, target="4 s, 450 MB"),
    Case("disaggregated, 65 % load", 100_000, 0.65, "disaggregated", target="7 s, 450 MB"),
    Case("aggregated, 15 % load", 100_000, 0.15, target="7 s"),
    Case("aggregated, 15 % load, no leaps", 100_000, 0.15, leap=False, target="20 s"),
    Case("Azure trace, aggregated, 65 % load", 19_366, 0.65, trace=True, target="2 s"),
    Case(
        "Azure trace, disaggregated, 65 % load", 19_366, 0.65, "disaggregated", trace=True,
        target="3 s",
    ),
    Case("a million, aggregated, 65 % load", 1_000_000, 0.65, target="40 s, 1.5 GiB"),
)  # fmt: skip

PER_ENGINE = 3_906
SCALING = tuple(
    Case(f"{n} engines, {n * PER_ENGINE:,} requests", n * PER_ENGINE, 0.65, engines=n)
    for n in (1, 4, 16, 64, 256)
)
LENGTH = tuple(
    Case(f"16 engines, {n:,} requests", n, 0.65) for n in (1_000, 10_000, 100_000, 1_000_000)
)


def scenario(case: Case, rate_per_s: float) -> dict[str, Any]:
    """The scenario of a case: log-normal lengths of mean 1,005 and 190 tokens, or the trace."""
    workload: dict[str, Any] = {
        "arrivals": {"poisson": {"rate_per_s": rate_per_s}} if rate_per_s else "at_once",
        "requests": case.requests,
        "prompt_tokens": {"lognormal": {"mean_tokens": 1005, "sigma": 1.0, "max_tokens": 30_000}},
        "output_tokens": {"lognormal": {"mean_tokens": 190, "sigma": 0.8, "max_tokens": 8_000}},
    }
    if case.trace:
        span = 3_502.0
        scale = case.requests / span / rate_per_s if rate_per_s else 1.0
        workload = {"path": str(TRACE), "time_scale": scale}
        if not rate_per_s:
            workload = {"path": str(TRACE), "arrivals": "at_once"}
    half = max(1, case.engines // 2)
    pools = {"serve": {"engines": case.engines, "engine": ENGINE}}
    if case.deployment == "disaggregated":
        pools = {n: {"engines": half, "engine": ENGINE} for n in ("prefill", "decode")}
    return {
        "name": "bench",
        "workload": workload,
        "model": "llama-3.1-8b",
        "topology": {"name": "dgx_h100", "nodes": max(1, -(-case.engines // 8))},
        "pools": pools,
        "deployment": case.deployment,
        "placement": "striped",
        "leap": case.leap,
    }


def saturation_per_s(case: Case) -> float:
    """Requests per second and engine when everything is there at once: the middle 80 % of ends."""
    from sim import Scenario, run

    with tempfile.TemporaryDirectory() as folder:
        many = Case("", 16_000, 0.0, trace=case.trace)
        result = run(Scenario.of(scenario(many, 0.0)), out=Path(folder) / "run")
        ends = np.sort(result.folder.column("requests", "end_s"))
    low, high = int(0.1 * len(ends)), int(0.9 * len(ends))
    return float((high - low) / (ends[high] - ends[low])) / 16


def play(case: Case, rate_per_s: float) -> dict[str, Any]:
    """Run one case in this process."""
    from sim import Scenario, run

    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "run"
        result = run(Scenario.of(scenario(case, rate_per_s)), out=out)
        steps = result.folder.rows("clock")
        return {
            "cpu_s": time.process_time(),
            "rss_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
            "steps": steps,
            "finished": result.summary["requests"]["finished"],
            "busy": result.summary["gpu_busy_share"],
            "written_mb": sum(f.stat().st_size for f in out.iterdir()) / 1e6,
        }


def measured(case: Case, rate_per_s: float) -> dict[str, Any]:
    """Run one case in a process of its own."""
    command = [sys.executable, "-m", "tests.benchmarks.bench", "--play", json.dumps(vars(case))]
    out = subprocess.run(
        [*command, "--rate", str(rate_per_s)], check=True, capture_output=True, text=True
    )
    row: dict[str, Any] = json.loads(out.stdout.splitlines()[-1])
    return row


def timeouts_per_s(count: int = 300_000) -> float:
    """Bare SimPy time-outs per CPU second, so that machines can be compared."""
    import simpy

    def wait(env: Any) -> Any:
        while True:
            yield env.timeout(1)

    env = simpy.Environment()
    env.process(wait(env))
    start = time.process_time()
    env.run(count)
    return count / (time.process_time() - start)


def profile(rate_per_s: float) -> None:
    """Where the time goes: the first case with 20,000 requests under cProfile."""
    from sim import Scenario, run

    case = Case("profile", 20_000, 0.65)
    profiler = cProfile.Profile()
    with tempfile.TemporaryDirectory() as folder:
        loaded = Scenario.of(scenario(case, rate_per_s))
        gc.collect()
        profiler.runcall(run, loaded, out=Path(folder) / "run")
    pstats.Stats(profiler).strip_dirs().sort_stats("tottime").print_stats(16)


def table(title: str, cases: tuple[Case, ...], rates: dict[bool, float]) -> None:
    """Run and print a group of cases."""
    print(f"\n{title}")
    print(f"{'case':40} {'CPU s':>7} {'MB':>6} {'µs/request':>10} {'µs/step':>8}  target")
    first = None
    for case in cases:
        row = measured(case, rates[case.trace] * case.engines * case.load)
        cost = row["cpu_s"] / case.requests * 1e6
        first = first or cost
        print(
            f"{case.name:40} {row['cpu_s']:7.2f} {row['rss_mb']:6.0f} {cost:10.1f} "
            f"{row['cpu_s'] / row['steps'] * 1e6:8.2f}  {case.target}",
            flush=True,
        )


def main() -> None:
    """Print everything, or play one case for the parent process."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--play")
    parser.add_argument("--rate", type=float, default=0.0)
    parser.add_argument("--quick", action="store_true", help="only the first four cases")
    given = parser.parse_args()
    if given.play:
        print(json.dumps(play(Case(**json.loads(given.play)), given.rate)))
        return
    print(f"bare SimPy time-outs: {timeouts_per_s() / 1e6:.2f} million per CPU second")
    rates = {False: saturation_per_s(CASES[0])}
    rates[True] = saturation_per_s(CASES[4]) if TRACE.exists() else 0.0
    print(f"16 engines serve {16 * rates[False]:.0f} requests/s of the generated load at most")
    if TRACE.exists():
        scale = 19_366 / 3_502 / (0.65 * 16 * rates[True])
        print(f"and {16 * rates[True]:.0f} of the Azure trace: time scale {scale:.4f} is 65 % load")
    cases = CASES[:4] if given.quick else tuple(c for c in CASES if rates[c.trace])
    table("whole process, Llama-3.1-8B on 16 H100", cases, rates)
    if not given.quick:
        table(f"more engines, {PER_ENGINE:,} requests each", SCALING, rates)
        table("more requests on 16 engines", LENGTH, rates)
    profile(0.65 * 16 * rates[False])


if __name__ == "__main__":
    main()
