"""What a workload is like, in plain numbers."""

from __future__ import annotations

from typing import Any

import numpy as np

from sim.workload.prefixes import prefix_hits, prompt_blocks
from sim.workload.request import Source
from sim.workload.source import ClosedLoopSource, OpenSource
from sim.workload.trace import Ints, Trace


def describe(asked: Trace | Source) -> dict[str, Any]:
    """Count, rate, lengths and prefix reuse, ready for JSON.

    `span_s` is from the first to the last arrival and `rate_per_s` = (count − 1) / span_s; both
    are None in a closed loop, whose times are not known beforehand. `repeating_blocks` and
    `repeating_prompt_tokens` are the shares of prompt blocks and prompt tokens that an earlier
    request already had, with an unlimited cache; None without block ids. Of a source of another
    kind than this room's only the count is known.
    """
    if isinstance(asked, OpenSource | ClosedLoopSource):
        trace = asked.asks
    elif isinstance(asked, Trace):
        trace = asked
    else:
        return {"count": asked.expected}
    closed = isinstance(asked, ClosedLoopSource)
    span_s = None if closed else float(trace.arrival_s[-1] - trace.arrival_s[0])
    return {
        "count": len(trace),
        "span_s": span_s,
        "rate_per_s": (len(trace) - 1) / span_s if span_s else None,
        "prompt_tokens": _spread(trace.prompt_tokens),
        "output_tokens": _spread(trace.output_tokens),
        **_reuse(trace),
    }


def _spread(tokens: Ints) -> dict[str, float]:
    p50, p99 = np.percentile(tokens, (50, 99))
    return {
        "mean": float(tokens.mean()),
        "p50": float(p50),
        "p99": float(p99),
        "max": int(tokens.max()),
    }


def _reuse(trace: Trace) -> dict[str, float | None]:
    blocks = int(prompt_blocks(trace).sum())
    if blocks == 0:
        return {"repeating_blocks": None, "repeating_prompt_tokens": None}
    hits = prefix_hits(trace)
    tokens = np.minimum(hits * trace.block_tokens, trace.prompt_tokens)
    return {
        "repeating_blocks": float(hits.sum()) / blocks,
        "repeating_prompt_tokens": float(tokens.sum()) / float(trace.prompt_tokens.sum()),
    }
