"""The headline numbers of a run, with units and what they mean."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sim.units import human_seconds


@dataclass(frozen=True, slots=True)
class Card:
    """One number: what it is, its value, smaller figures beside it, and an explanation."""

    title: str
    value: str
    more: str
    meaning: str


def number(value: float | None, digits: int = 4) -> str:
    """A number with thousands separated, or a dash."""
    if value is None:
        return "–"
    if abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:.{digits}g}"


def seconds(value: float | None) -> str:
    """Seconds in the unit that reads best, or a dash."""
    return "–" if value is None else human_seconds(value)


def percent(value: float | None) -> str:
    """A ratio as per cent, or a dash; what rounding of sums leaves is 0."""
    if value is None:
        return "–"
    return "0 %" if abs(value) < 1e-9 else f"{100.0 * value:.3g} %"


def cards(summary: dict[str, Any]) -> list[Card]:
    """The cards at the top of the report."""
    return [
        *_latency_cards(summary), *_rate_cards(summary), *_draft_cards(summary),
        *_use_cards(summary),
    ]  # fmt: skip


def _draft_cards(summary: dict[str, Any]) -> list[Card]:
    did = summary.get("speculation")
    if did is None:
        return []
    return [
        Card(
            "Tokens per verify step",
            number(did["acceptance_length"]),
            f"{number(did['draft_length'])} drafts · × {number(did['speedup_over_plain'])} over "
            "plain steps",
            "Mean tokens of a sequence in a step with drafts, the target's own included; drafts "
            "per step; and how much quicker tokens came than plain decode steps of the same "
            "batches would have made them. All tokens of a step are visible at once: gaps between "
            f"such bursts have a median of {seconds(summary['icl_s']['p50'])}.",
        )
    ]


def _latency_cards(summary: dict[str, Any]) -> list[Card]:
    meanings = (
        ("ttft_s", "TTFT", "Time to first token: from arrival to the first token that the client "
         "sees. Queueing, prefill and, where it applies, the KV handoff are in it."),
        ("itl_s", "ITL", "Inter-token latency: gaps between adjacent tokens, pooled over all "
         "tokens of all requests. NVIDIA's papers call it TTL."),
        ("tpot_s", "TPOT", "Time per output token of each finished request: (last − first token) "
         "÷ (tokens − 1). Its inverse is the speed that a user sees."),
        ("e2e_s", "E2E", "From arrival to the last token, of finished requests."),
    )  # fmt: skip
    return [
        Card(
            f"{name}, median",
            seconds(summary[key]["p50"]),
            f"mean {seconds(summary[key]['mean'])} · p99 {seconds(summary[key]['p99'])}",
            meaning,
        )
        for key, name, meaning in meanings
    ]


def _rate_cards(summary: dict[str, Any]) -> list[Card]:
    slo = summary["slo_attainment"]
    return [
        Card(
            "Output tokens/s",
            number(summary["output_tokens_per_s"]),
            f"{number(summary['output_tokens_per_s_per_gpu'])} per GPU",
            "Generated tokens per second of the window, and the same over all GPUs of the "
            "deployment, idle ones too.",
        ),
        Card(
            "Prompt tokens/s",
            number(summary["prompt_tokens_per_s"]),
            f"{percent(summary['kv_hit_rate'])} from the prefix cache",
            "Prompt tokens of the requests whose first token came in the window, and the share of "
            "prompt tokens that were found in the KV cache.",
        ),
        Card(
            "Goodput",
            "–" if slo is None else f"{number(summary['goodput_requests_per_s'])} /s",
            "no SLO given" if slo is None else f"{percent(slo)} of arrivals meet the SLO",
            "Requests per second that meet every SLO of theirs. Rejected, failed and unfinished "
            "requests do not.",
        ),
    ]


def _use_cards(summary: dict[str, Any]) -> list[Card]:
    counts = summary["requests"]
    ways = ("rejected", "failed", "cancelled", "unfinished")
    others = [f"{number(counts[s])} {s}" for s in ways if counts.get(s)]
    return [
        Card(
            "Requests finished",
            number(counts["finished"]),
            " · ".join([f"of {number(counts['arrived'])}", *others]),
            "Every request that arrived in the window ended in one of these ways; latencies of "
            "the finished ones say nothing about the others.",
        ),
        Card(
            "GPUs busy",
            percent(summary["gpu_busy_share"]),
            f"{number(summary['gpus'])} GPUs",
            "Share of GPU time in which a step ran, without waiting for other ranks or stages.",
        ),
    ]
