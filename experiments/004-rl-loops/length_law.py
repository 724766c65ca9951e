"""The law of response lengths that all scenarios share, and the lengths that they are made from.

Papers give a mean and a longest length, seldom the law between them. One law stands for all of
them: log-normal with sigma = 1, cut at the longest length. Then 99 % are shorter than exp(2.33) =
10.2 medians, as Laminar (arXiv 2510.12633) reports of its rollouts.
"""

from __future__ import annotations

import math
from statistics import NormalDist

SIGMA = 1.0
_normal = NormalDist()


def cut_mean(median: float, longest: float, sigma: float = SIGMA) -> float:
    """Mean of min(X, longest) of a log-normal X: exp(µ + σ²/2)·Φ(z − σ) + longest·(1 − Φ(z)) with
    z = (ln longest − µ)/σ."""
    z = math.log(longest / median) / sigma
    return median * math.exp(sigma**2 / 2) * _normal.cdf(z - sigma) + longest * (
        1.0 - _normal.cdf(z)
    )


def uncut_mean(mean: float, longest: float, sigma: float = SIGMA) -> float:
    """`mean_tokens` of the law whose mean behind the bound is `mean`, by bisection."""
    low, high = 1.0, longest * 1e4
    for _ in range(200):
        middle = math.sqrt(low * high)
        low, high = (middle, high) if cut_mean(middle, longest, sigma) < mean else (low, middle)
    return low * math.exp(sigma**2 / 2)


MEANS: dict[str, tuple[float, str]] = {
    "nemo_8b": (3_140, "inferred: at it our training stage takes the printed 31.4 s"),
    "nemo_235b": (8_000, "assumed"),
    "v06_deepseek": (701, "printed"),
    "v06_qwen235b": (5_698, "printed"),
    "v06_qwen30b": (3_203, "printed"),
    "verl_fsdp": (960, "inferred: at it our training stage takes the printed time"),
    "verl_megatron": (960, "inferred: at it our training stage takes the printed time"),
    "verl_28k": (1_820, "inferred: at it our training stage takes the printed time"),
    "areal": (9_000, "assumed: printed hours × printed tokens/s per sample are 9,300"),
    "rollpacker": (770, "75 % are shorter than 925 tokens: the printed 755 to 1,100"),
    "laminar": (5_000, "assumed"),
}
"""Mean response length of every scenario, and where it is from."""
