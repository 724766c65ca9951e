"""What queueing theory says of one engine, against intervals from independent replications.

A constant timer and one sequence at a time make an engine an M/D/1 server: the service is one step.
Intervals are 99 % Student intervals over replications with different seeds, never one seeded
value; run with `-s` to see them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from helpers import Run, generated, play, serving, steady
from scipy import stats

STEP_S = 0.01
SEEDS = range(20)


@dataclass(frozen=True)
class Interval:
    low: float
    high: float

    def __contains__(self, value: float) -> bool:
        return self.low <= value <= self.high


def interval(what: str, values: list[float], theory: float, level: float = 0.99) -> Interval:
    """Of the mean of independent values; printed beside the theory."""
    mean, error = float(np.mean(values)), float(stats.sem(values))
    half = float(stats.t.ppf((1 + level) / 2, len(values) - 1)) * error
    print(
        f"\n{what}: theory {theory:.6g}, {level:.0%} interval {mean - half:.6g} … {mean + half:.6g}"
    )
    return Interval(mean - half, mean + half)


def queue(rate_per_s: float, requests: int, seed: int, **changes: Any) -> Run:
    """Requests of one step each, one at a time in an engine."""
    engine = {"max_num_seqs": 1, "max_num_batched_tokens": 1}
    pool = {"timer": steady(STEP_S), "engine": engine, "engines": changes.pop("engines", 1)}
    workload = generated(requests, 1, 1, {"poisson": {"rate_per_s": rate_per_s}})
    return play(serving(workload, pools={"serve": pool}, seed=seed, **changes))


def waits(run: Run, warm: float = 0.2) -> np.ndarray[Any, Any]:
    """Seconds from arrival to first step, without the first fifth of the requests."""
    r = run.requests
    wait = (r["first_step_s"] - r["arrival_s"]).to_numpy()
    return wait[int(len(wait) * warm) :]


def pollaczek_khinchine(rho: float, service_s: float = STEP_S) -> float:
    """Mean wait of M/D/1: ρ·s / (2·(1 − ρ))."""
    return rho * service_s / (2 * (1 - rho))


@pytest.mark.parametrize("rho", [0.3, 0.6, 0.8])
def test_one_server_with_equal_services_waits_as_pollaczek_and_khinchine_say(rho: float) -> None:
    means = [float(waits(queue(rho / STEP_S, 3000, seed)).mean()) for seed in SEEDS]
    theory = pollaczek_khinchine(rho)
    assert theory in interval(f"M/D/1 wait, load {rho}", means, theory)


def test_random_routing_splits_a_poisson_stream_into_poisson_streams() -> None:
    """Two engines behind a coin: each is an M/D/1 of half the rate."""
    rho = 0.7
    deployment = {"aggregated": {"router": "random"}}
    topology = {"name": "single_gpu", "nodes": 2}
    changes = {"engines": 2, "deployment": deployment, "topology": topology}
    runs = [queue(2 * rho / STEP_S, 4000, seed, **changes) for seed in SEEDS]
    theory = pollaczek_khinchine(rho)
    assert theory in interval("random split", [float(waits(r).mean()) for r in runs], theory)
    shares = [float((r.requests["prefill_engine"] == 0).mean()) for r in runs]
    assert 0.5 in interval("share of the first engine", shares, 0.5)


def test_looking_before_joining_beats_the_coin() -> None:
    """Join the shorter queue waits less than a random split in every replication: the arrivals
    are the same, only the router differs."""
    topology = {"name": "single_gpu", "nodes": 2}

    def wait(router: str, seed: int) -> float:
        deployment = {"aggregated": {"router": router}}
        run = queue(160.0, 2000, seed, engines=2, deployment=deployment, topology=topology)
        return float(waits(run).mean())

    gains = [wait("random", s) - wait("least_loaded", s) for s in range(10)]
    low = interval("gain of the shorter queue", gains, float("nan")).low
    assert low > 0


def test_equal_gaps_below_capacity_never_wait() -> None:
    """D/D/1."""
    workload = generated(200, 1, 1, {"constant": {"rate_per_s": 90.0}})
    engine = {"max_num_seqs": 1, "max_num_batched_tokens": 1}
    pools = {"serve": {"timer": steady(STEP_S), "engine": engine}}
    run = play(serving(workload, pools=pools))
    assert float(waits(run, 0.0).max()) == 0.0


# ---- Little's law: L by integrating what is inside, λ and W from the requests


def batching(seed: int) -> Run:
    """A batch of up to 8 with random lengths, fairly busy."""
    engine = {"max_num_seqs": 8, "max_num_batched_tokens": 64}
    workload = {
        "requests": 400,
        "prompt_tokens": {"uniform": {"min_tokens": 1, "max_tokens": 100}},
        "output_tokens": {"uniform": {"min_tokens": 1, "max_tokens": 40}},
        "arrivals": {"poisson": {"rate_per_s": 28.0}},
    }
    pools = {"serve": {"timer": steady(STEP_S), "engine": engine}}
    return play(serving(workload, pools=pools, seed=seed))


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_those_who_decode_are_rate_times_their_stay(seed: int) -> None:
    """Little's law holds for every finite run that begins and ends empty, exactly. Left: the
    steps' own count of decodes, integrated over time. Right: the sum of the requests' stays,
    which is λ·W times the span."""
    run = batching(seed)
    steps, stays = run.table("steps"), run.table("intervals")
    left = ((steps["end_s"] - steps["start_s"]) * steps["decodes"]).sum()
    decode = stays[stays["stage"] == "decode"]
    right = (decode["leave_s"] - decode["enter_s"]).sum()
    assert left == pytest.approx(right, rel=1e-9)


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_those_who_wait_are_rate_times_their_wait(seed: int) -> None:
    """L of the waiting line from the router's view of the engine, sampled at every moment by
    counting arrivals and first steps; W from the requests; they meet only through λ."""
    run = batching(seed)
    r = run.requests
    came, began = np.sort(r["arrival_s"].to_numpy()), np.sort(r["first_step_s"].to_numpy())
    span = r["end_s"].max()
    times = np.unique(np.concatenate([[0.0, span], came, began]))
    inside = np.searchsorted(came, times, "right") - np.searchsorted(began, times, "right")
    mean_waiting = float((np.diff(times) * inside[:-1]).sum() / span)
    rate = len(r) / span
    wait = float((r["first_step_s"] - r["arrival_s"]).mean())
    assert mean_waiting == pytest.approx(rate * wait, rel=1e-9)
    steps = run.table("steps")
    starts = steps["start_s"].to_numpy()
    seen = np.searchsorted(came, starts, "right") - np.searchsorted(began, starts, "right")
    assert (steps["waiting"].to_numpy() == seen).all(), "the steps saw another waiting line"


@pytest.mark.parametrize("clients", [1, 4, 16])
@pytest.mark.parametrize("think_s", [0.0, 0.35])
def test_a_closed_loop_obeys_the_interactive_response_time_law(
    clients: int, think_s: float
) -> None:
    """X · (R + Z) = N: throughput times (response + thinking) is the number of clients. Up to the
    two ends of the run, which weigh one cycle of every client."""
    loop = {"closed_loop": {"concurrency": clients, "think_time_s": think_s}}
    workload = generated(600, 30, 20, loop)
    workload["output_tokens"] = {"uniform": {"min_tokens": 5, "max_tokens": 35}}
    engine = {"max_num_seqs": 8, "max_num_batched_tokens": 64}
    pools = {"serve": {"timer": steady(STEP_S), "engine": engine}}
    r = play(serving(workload, pools=pools)).requests
    span = float(r["end_s"].max())
    response = float((r["end_s"] - r["arrival_s"]).mean())
    population = len(r) / span * (response + think_s)
    print(f"\nclosed loop of {clients}, thinking {think_s} s: X·(R+Z) = {population:.4f}")
    ends = (response + think_s) / span * clients
    assert population == pytest.approx(clients, abs=1.5 * ends)
    assert population >= clients * (1 - 2 * ends)


def test_a_saturated_batch_makes_its_size_in_tokens_a_step() -> None:
    """Prompts of one token, always somebody waiting: every decode step is full."""
    workload = generated(64, 1, 50, "at_once")
    engine = {"max_num_seqs": 8, "max_num_batched_tokens": 8}
    pools = {"serve": {"timer": steady(STEP_S), "engine": engine}}
    run = play(serving(workload, pools=pools))
    tokens = 64 * 50
    steps = len(run.table("clock"))
    assert tokens / 8 <= steps <= tokens / 8 + 8


def test_lengths_do_not_change_with_the_router() -> None:
    """Draws are functions of (seed, stream, request): runs can be compared request by request."""
    workload = generated(50, 1, 1, {"poisson": {"rate_per_s": 50.0}})
    workload["prompt_tokens"] = {"uniform": {"min_tokens": 1, "max_tokens": 100}}
    workload["output_tokens"] = {"uniform": {"min_tokens": 1, "max_tokens": 40}}
    topology = {"name": "single_gpu", "nodes": 2}
    asked = []
    for router in ("random", "least_loaded", "power_of_two"):
        pools = {"serve": {"timer": steady(STEP_S), "engines": 2}}
        deployment = {"aggregated": {"router": router}}
        tree = serving(workload, pools=pools, topology=topology, deployment=deployment, seed=5)
        asked.append(play(tree).requests[["arrival_s", "prompt_tokens", "output_tokens"]])
    assert asked[0].equals(asked[1])
    assert asked[0].equals(asked[2])
