"""When a time is settled: samples of enough calls, until their median stands still."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil, sqrt
from statistics import median

from sim.fidelity.bench import Prepared

MEDIAN_ERROR = 1.2533 * 1.4826
"""Standard error of a median in mean absolute deviations from it, times √n: √(π/2) for the median
of normal samples, 1 ÷ 0.6745 for the deviation (Maronna et al., Robust Statistics, ch. 2)."""


@dataclass(frozen=True, slots=True)
class StopRule:
    """How long one shape is timed."""

    sample_s: float = 1e-3
    """A sample takes at least this long: events resolve half a microsecond."""
    most_calls: int = 512
    """… but no more calls, unless the buffers need a longer cycle."""
    least: int = 5
    most: int = 40
    """Samples."""
    error: float = 0.005
    """Relative standard error of the median at which it is settled."""
    budget_s: float = 0.3
    """GPU time after which no more samples are taken."""


@dataclass(frozen=True, slots=True)
class Timing:
    """Time of one call."""

    seconds: float
    """Median over samples."""
    samples: int
    error: float
    """Relative standard error of the median."""
    settled: bool


def time_call(kernel: Prepared, rule: StopRule) -> Timing:
    """Warm up, choose calls per sample, then sample until the rule says stop."""
    probe = max(2, min(kernel.cycle, 16))
    kernel.seconds(probe)
    calls = calls_per_sample(kernel.seconds(probe) / probe, kernel.cycle, rule)
    kernel.seconds(calls)
    samples: list[float] = []
    spent = 0.0
    while len(samples) < rule.most and (len(samples) < rule.least or spent < rule.budget_s):
        taken = kernel.seconds(calls)
        spent += taken
        samples.append(taken / calls)
        if len(samples) >= rule.least and error_of(samples) <= rule.error:
            break
    error = error_of(samples)
    return Timing(median(samples), len(samples), error, error <= rule.error)


def calls_per_sample(call_s: float, cycle: int, rule: StopRule) -> int:
    """Whole cycles that take `sample_s`, up to `most_calls`; at least one cycle."""
    wanted = min(rule.most_calls, ceil(rule.sample_s / max(call_s, 1e-9)))
    return max(1, ceil(wanted / cycle)) * cycle


def error_of(samples: list[float]) -> float:
    """Relative standard error of their median, from absolute deviations."""
    middle = median(samples)
    deviation = median(abs(x - middle) for x in samples)
    return MEDIAN_ERROR * deviation / sqrt(len(samples)) / middle
