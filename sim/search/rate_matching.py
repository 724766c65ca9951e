"""How many prefill engines keep how many decode engines busy.

A prefill engine of G_p GPUs completes r_p prompts/s, a decode engine of G_d GPUs r_d answers/s. In
a deployment of n_p and n_d engines the slower side sets the rate, min(n_p r_p, n_d r_d). Matched
without whole numbers the deployment makes per GPU

    tokens/s/GPU = n_d r_d · tokens / (G_p · n_d r_d / r_p + n_d G_d)

which is `total_output_tok/s / (N_ctxGPU · genReqRate/ctxReqRate + N_genGPU)` of TensorRT-LLM's tech
blog 5. Whole numbers of engines are taken within a tolerance of equal rates (Beyond the Buzz, arXiv
2506.05508, appendix B: 0.03).
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil

TOLERANCE = 0.03
MOST_GPUS = 512
"""Largest deployment that is looked at."""


@dataclass(frozen=True, slots=True)
class Side:
    """An engine of one pool, at the load at which it is wanted."""

    requests_per_s: float
    gpus: int


@dataclass(frozen=True, slots=True)
class Match:
    """Engines on both sides."""

    prefill_engines: int
    decode_engines: int
    requests_per_s: float
    gpus: int
    imbalance: float
    """Prefill rate ÷ decode rate − 1."""

    @property
    def limits(self) -> str:
        """The slower side; `both` within the tolerance."""
        if abs(self.imbalance) <= TOLERANCE:
            return "both"
        return "decode" if self.imbalance > 0 else "prefill"


def matched(
    prefill: Side,
    decode: Side,
    prefill_engines: int | None = None,
    decode_engines: int | None = None,
    most_gpus: int = MOST_GPUS,
) -> Match:
    """The smallest deployment whose sides are within the tolerance, keeping the numbers that are
    given; of those with at most `most_gpus` GPUs the one nearest to balance if there is none."""
    found: list[Match] = []
    decodes = [decode_engines] if decode_engines else range(1, most_gpus // decode.gpus + 1)
    for n_d in decodes:
        exact = n_d * decode.requests_per_s / prefill.requests_per_s
        near = [prefill_engines] if prefill_engines else {max(1, int(exact)), max(1, ceil(exact))}
        for n_p in near:
            made = match(prefill, decode, n_p, n_d)
            given = prefill_engines and decode_engines
            if given or made.gpus <= most_gpus:
                found.append(made)
    if not found:
        return match(prefill, decode, prefill_engines or 1, decode_engines or 1)
    good = [m for m in found if abs(m.imbalance) <= TOLERANCE]
    if good:
        return min(good, key=lambda m: (m.gpus, abs(m.imbalance)))
    return max(found, key=lambda m: (m.requests_per_s / m.gpus, -m.gpus))


def match(prefill: Side, decode: Side, prefill_engines: int, decode_engines: int) -> Match:
    """So many engines."""
    made, used = prefill_engines * prefill.requests_per_s, decode_engines * decode.requests_per_s
    gpus = prefill_engines * prefill.gpus + decode_engines * decode.gpus
    return Match(prefill_engines, decode_engines, min(made, used), gpus, made / used - 1.0)


def tokens_per_s_per_gpu(prefill: Side, decode: Side, tokens: float) -> float:
    """Of a deployment matched without whole numbers; `tokens` are those of an answer."""
    ratio = decode.requests_per_s / prefill.requests_per_s
    return decode.requests_per_s * tokens / (prefill.gpus * ratio + decode.gpus)
