"""The summary by pool."""

from __future__ import annotations

from typing import Any

import numpy as np

from sim.measure.latency import Requests
from sim.measure.ledger import Ints
from sim.measure.quantiles import stats
from sim.measure.stays import Flags
from sim.measure.utilisation import Activity, engine_totals
from sim.measure.window import Window


def pool_summary(
    activity: Activity, requests: Requests, window: Window, counted: Flags
) -> dict[str, dict[str, Any]]:
    """By pool: size, how busy it was, what it made, and the latencies that it is answerable for.

    `ttft_s` and `queue_s` are of the requests that were first computed in the pool, `tpot_s` of
    those whose last token came from it. Batches are per rank.
    """
    fleet, totals = activity.fleet, engine_totals(activity, window)
    summary = {}
    for number, name in enumerate(fleet.pools):
        mine = fleet.pool == number
        gpus = int(fleet.gpus[mine].sum())
        sums = {key: float(values[mine].sum()) for key, values in totals.items()}
        length = window.length_s or None
        summary[name] = {
            "role": fleet.engines[int(np.argmax(mine))].get("role"),
            "engines": int(mine.sum()),
            "gpus": gpus,
            "busy_share": _mean(totals["busy_share"][mine], fleet.gpus[mine]),
            "steps": round(sums["steps"]),
            "mean_decode_batch": _ratio(sums["decode_sequences"], sums["decode_steps"]),
            "prefill_tokens_per_s": _ratio(sums["prefill_tokens"], length),
            "decode_tokens_per_s": _ratio(sums["decode_tokens"], length),
            "output_tokens_per_s": _ratio(sums["sampled_tokens"], length),
            "kv_use_mean": _ratio(sums["kv_use_s"], sums["kv_held_s"]),
            "kv_use_peak": float(totals["kv_use_peak"][mine].max()),
        } | _latencies(requests, mine, counted)
    return summary


def _latencies(requests: Requests, mine: Flags, counted: Flags) -> dict[str, Any]:
    first = counted & _of(requests["prefill_engine"], mine)
    last = counted & _of(requests["decode_engine"], mine)
    return {
        "requests": int((first | last).sum()),
        "ttft_s": stats(requests.ttft_s[first]),
        "queue_s": stats(requests.queue_s[first]),
        "tpot_s": stats(requests.tpot_s[last]),
    }


def _of(engine: Ints, mine: Flags) -> Flags:
    """Which requests name an engine of the pool."""
    return np.asarray((engine >= 0) & mine[np.maximum(engine, 0)], dtype=np.bool_)


def _ratio(value: float, by: float | None) -> float | None:
    return value / by if by else None


def _mean(values: Any, weights: Any) -> float:
    total = float(weights.sum())
    mean = float((values * weights).sum()) / total if total else 0.0
    return 0.0 if np.isnan(mean) else mean
