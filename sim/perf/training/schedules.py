"""Pipeline schedules: how long they take in closed form, and in which order each stage works.

p stages, m micro-batches, f and b the forward and backward seconds of one micro-batch in one stage
(all chunks together), w the part of b that only makes weight gradients.
"""

from __future__ import annotations

from functools import lru_cache

Work = tuple[bool, int, int]
"""(forward?, chunk, micro-batch)."""


def pipeline_s(p: int, m: int, f: float, b: float) -> float:
    """GPipe (arXiv 1811.06965) and 1F1B (arXiv 2006.09503): (m + p − 1)·(f + b) for equal stages.

    They differ in what is in flight (all m, or at most p), not in time."""
    return (m + p - 1) * (f + b)


def interleaved_s(p: int, m: int, v: int, f: float, b: float) -> float:
    """Interleaved 1F1B with v chunks a stage: m·(f + b) + (p − 1)·(f + b)/v (arXiv 2104.04473,
    section 2.2.2)."""
    return m * (f + b) + (p - 1) * (f + b) / v


def zb_h1_s(p: int, m: int, f: float, b: float, w: float) -> float:
    """ZB-H1, zero-bubble at the memory of 1F1B: m·(f + b) + (p − 1)·(f + (b − w) − w) (arXiv
    2401.10241, table 2, whose B is our b − w)."""
    return m * (f + b) + (p - 1) * max(0.0, f + b - 2 * w)


def zero_bubble_s(m: int, stages: tuple[float, ...]) -> float:
    """The bound that zero-bubble schedules strive for: m times the f + b of the slowest stage."""
    return m * max(stages)


def bubble_fraction(p: int, m: int, v: int = 1) -> float:
    """Bubble over ideal time, (p − 1)/(m·v) (arXiv 2104.04473, section 2.2)."""
    return (p - 1) / (m * v)


def in_flight(schedule: str, p: int, m: int, v: int = 1, stage: int = 0) -> float:
    """Micro-batches whose activations a stage holds at once, in whole stages' worth.

    GPipe: m. 1F1B: p − stage. Interleaved: 2·(p − stage − 1) + (v − 1)·p + 1 chunks of 1/v each,
    in the first stage p·(1 + (p − 1)/(p·v)) (arXiv 2205.05198, section 4.1). Zero-bubble without
    idle time: 2p − 1 (ZB-H2, arXiv 2401.10241, table 2)."""
    if schedule == "gpipe":
        return m
    if schedule == "interleaved":
        return min(m * v, 2 * (p - stage - 1) + (v - 1) * p + 1) / v
    if schedule == "zero_bubble":
        return min(m, 2 * p - 1)
    return min(m, p - stage)


@lru_cache(maxsize=256)
def order(schedule: str, p: int, m: int, v: int, stage: int) -> tuple[Work, ...]:
    """What a stage does, one thing after the other."""
    if schedule == "gpipe":
        forwards = tuple((True, 0, j) for j in range(m))
        return forwards + tuple((False, 0, j) for j in range(m))
    if schedule == "interleaved":
        warm, forward, backward = _interleaved(p, m, v, stage)
    else:
        warm = min(p - stage - 1, m)
        forward, backward = [(0, j) for j in range(m)], [(0, j) for j in range(m)]
    out: list[Work] = [(True, *forward[k]) for k in range(warm)]
    steady = len(forward) - warm
    for k in range(steady):
        out.append((True, *forward[warm + k]))
        out.append((False, *backward[k]))
    out += [(False, *backward[k]) for k in range(steady, len(backward))]
    return tuple(out)


def _interleaved(
    p: int, m: int, v: int, stage: int
) -> tuple[int, list[tuple[int, int]], list[tuple[int, int]]]:
    """Megatron-LM's order: p micro-batches through chunk 0, the same p through chunk 1, … and in
    reverse order of chunks backward; warm-up of 2·(p − stage − 1) + (v − 1)·p forwards, of all of
    them where m = p."""
    group = p * v
    forward = [(k % group // p, k // group * p + k % p) for k in range(m * v)]
    backward = [(v - 1 - c, j) for c, j in forward]
    warm = m * v if m == p else min(m * v, 2 * (p - stage - 1) + (v - 1) * p)
    return warm, forward, backward
