"""Closed forms of reinforcement-learning loops: bounds, admission, staleness.

Rollouts make samples, a trainer takes B of them a step; a policy has a version, the number of
updates that it has had. A sample's staleness is the trainer's version less that at which it began.
"""

from __future__ import annotations

from math import ceil

from sim.errors import ScenarioError


def end_to_end_bound(generation_share: float, speedup: float) -> float:
    """S ≤ 1/(R/α + 1 − R): most that a loop gains when generation, a share R of its step, gets α
    times quicker (arXiv 2604.26779, section 3; Amdahl's law)."""
    if not 0.0 <= generation_share <= 1.0 or speedup <= 0.0:
        raise ScenarioError(
            f"end_to_end_bound: generation_share={generation_share} must be in [0, 1] and "
            f"speedup={speedup} positive; measure both on one step"
        )
    return 1.0 / (generation_share / speedup + 1.0 - generation_share)


def admissible(version: int, batch: int, staleness: int, submitted: int) -> int:
    """Requests that may be submitted now, `submitted` having been since the start.

    The last one must satisfy ⌊(N − 1)/B⌋ ≤ i + η (AReaL, arXiv 2505.24298, equation 3): N up to
    (i + η + 1)·B with B samples a step, version i, most staleness η.
    """
    return max(0, (version + staleness + 1) * batch - submitted)


def sample_staleness(
    sample: int, batch: int, rate_per_s: float, rollout_s: float, train_s: float
) -> int:
    """Staleness of the `sample`-th of a batch (0 first) in a loop bound by rollouts, once running.

    Samples end every 1/r seconds, G after they began; step k begins when its B samples are there,
    at k·P with P = B/r, and gives version k + 1 after T ≤ P. The sample waited w = (B − 1 − j)/r
    and began w + G before k·P, when ⌊(k·P − w − G − T)/P⌋ + 1 updates were done:

        staleness = ⌈(w + G + T)/P⌉ − 1
    """
    period = batch / rate_per_s
    if train_s > period:
        raise ScenarioError(
            f"sample_staleness: train_s={train_s} is longer than the {period} s that rollouts "
            "need for a batch, so samples pile up; bound them by `admissible`"
        )
    waited = (batch - 1 - sample) / rate_per_s
    return max(0, ceil((waited + rollout_s + train_s) / period - 1e-9) - 1)


def mean_staleness(batch: int, rate_per_s: float, rollout_s: float, train_s: float) -> float:
    """Mean of `sample_staleness` over a batch."""
    each = [sample_staleness(j, batch, rate_per_s, rollout_s, train_s) for j in range(batch)]
    return sum(each) / batch


def synchronous_s(
    generation_s: float, train_s: float, other_s: float = 0.0, sync_s: float = 0.0
) -> float:
    """A step on shared or waiting GPUs: T_gen + T_train + the rest + moving the weights."""
    return generation_s + train_s + other_s + sync_s


def one_step_off_s(generation_s: float, train_s: float, sync_s: float = 0.0) -> float:
    """Separate pools, one batch ahead: max(T_gen, T_train) + T_sync, where T_train includes
    log-probabilities."""
    return max(generation_s, train_s) + sync_s


def asynchronous_s(
    batch: int, rate_per_s: float, train_s: float, exposed_sync_s: float = 0.0
) -> float:
    """Separate pools and enough staleness: max(T_train, B/r) + exposed sync."""
    return max(train_s, batch / rate_per_s) + exposed_sync_s


def exposed_generation_s(generation_s: float, rest_s: float) -> float:
    """What a step still waits for when generation overlaps the rest of the step before: max(0,
    T_gen − T_rest)."""
    return max(0.0, generation_s - rest_s)
