"""The numbers of a run: `summary.json`, every name in the field's sense and SI units."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from sim.measure.attribution import PARTS, Chain, attribute
from sim.measure.invariants import check_requests, check_steps
from sim.measure.latency import LATENCIES, Requests, meets
from sim.measure.ledger import Ledger
from sim.measure.loop import Loop
from sim.measure.loop_invariants import check_loop
from sim.measure.pools import pool_summary
from sim.measure.quantiles import stats
from sim.measure.rl import rl_summary
from sim.measure.run_gaps import Rows, TokenTimes, read_tokens, recorded
from sim.measure.speculation import speculation_summary
from sim.measure.stays import Flags, Stays
from sim.measure.utilisation import Activity, LinkUse
from sim.measure.window import Window, window_of
from sim.record.run_folder import RunFolder, numbers
from sim.record.tables import STATES

Summary = dict[str, Any]

IN_WORDS = {
    "queue_s": "waiting in the queue",
    "own_prefill_s": "computing its own prompt",
    "batch_mates_s": "other prompts and decodes in its prefill steps",
    "collective_s": "collectives between GPUs",
    "host_s": "host overhead (launches, scheduling, sampling)",
    "rank_wait_s": "waiting for the slowest data-parallel rank",
    "pipeline_s": "the pipeline (chunks in earlier passes, waits between stages)",
    "handoff_wait_s": "waiting for room in a decode engine",
    "transfer_s": "moving its KV cache",
    "contention_s": "sharing links with other traffic",
    "decode_queue_s": "waiting for its first decode step",
    "decode_s": "decoding",
    "draft_s": "drafting tokens ahead",
    "stall_s": "decode stalled by prefills of others",
    "recompute_s": "recomputing after preemptions",
}
"""The parts of a latency in words."""

NOT_SPLIT = "Latencies were not split into parts (record.attribution: false)."


def measure(run: RunFolder) -> Summary:
    """Check a run, measure it, and write `summary.json` and `attribution.parquet` into it.

    Raises BrokenInvariant when its tables contradict each other.
    """
    requests = Requests.read(run)
    check_requests(requests, run.facts.get("arrived"))
    check_steps(run)
    ledger = Ledger.read(run)
    stays = Stays.read(run, ledger)
    parts = None
    if recorded(run).get("attribution", True):
        parts = attribute(Chain.read(run, requests, ledger, stays))
        run.write_table("attribution", parts)
    rows = Rows.of(ledger)
    del ledger  # a third of the memory of a large run
    tokens = read_tokens(run, rows, stays, requests)
    del stays, rows
    summary = summarise(run, requests, tokens, parts)
    run.write_json("summary.json", summary)
    return summary


def summarise(
    run: RunFolder, requests: Requests, tokens: TokenTimes, parts: pa.Table | None
) -> Summary:
    """The summary of a run from its requests, tokens and attribution (where it was wanted)."""
    facts = run.facts
    window = window_of(facts.get("window", "all"), requests["arrival_s"], requests["end_s"])
    counted = window.arrived(requests["arrival_s"])
    activity = Activity.read(run)
    loop = Loop.read(run)
    gpus = activity.fleet.total_gpus if loop is None else loop.gpus["total"]
    summary: Summary = {"requests": _counts(requests, counted)}
    for name in LATENCIES:
        summary[name] = stats(requests.latency(name)[counted])
    summary["itl_s"] = tokens.gaps(*window.bounds()).stats()
    speculation = speculation_summary(run, window)
    if speculation is not None:
        summary["icl_s"] = tokens.gaps(*window.bounds(), bursts=True).stats()
        summary["speculation"] = speculation
    summary |= _throughput(requests, tokens, window, gpus)
    summary |= _service(requests, counted, facts.get("slo") or {}, window)
    pools = pool_summary(activity, requests, window, counted)
    busy = sum(p["busy_share"] * p["gpus"] for p in pools.values()) if window.length_s else None
    if busy is not None and loop is not None:
        busy += loop.trainer_busy_s * loop.gpus["trainer"] / window.length_s
    summary |= {
        "gpus": gpus,
        "gpu_busy_share": busy / gpus if busy is not None and gpus else None,
        "simulated_s": facts.get("simulated_s"),
        "preemptions": int(requests["preemptions"][counted].sum()),
        "recomputed_tokens": int(requests["recomputed_tokens"][counted].sum()),
        "pools": pools,
        "transfers": _transfers(run, counted),
        "links": _links(run),
        "attribution": {} if parts is None else _attribution(parts, counted),
        "window": {
            "kind": window.kind,
            "start_s": window.start_s,
            "end_s": window.end_s,
            "requests": int(counted.sum()),
            "rule": window.rule,
        },
        "partial": bool(facts.get("partial", False)),
        "clock": recorded(run).get("clock", "steps"),
    }
    summary["bottleneck"] = NOT_SPLIT if parts is None else bottleneck(summary["attribution"])
    if loop is not None:
        check_loop(loop)
        summary["rl"] = rl_summary(loop, activity, summary.get("speculation"))
    return summary


def _counts(requests: Requests, counted: Flags) -> dict[str, int]:
    """Requests by end state, over everything that arrived in the window."""
    by_state = np.bincount(requests["state"][counted], minlength=len(STATES))
    named = dict(zip(STATES, map(int, by_state), strict=True))
    return {"arrived": int(counted.sum())} | named


def _throughput(requests: Requests, tokens: TokenTimes, window: Window, gpus: int) -> Summary:
    """Tokens per second made in the window; prompts count when their first token is visible."""
    low, high = window.bounds()
    first = requests["first_token_s"]
    with_token = (first > low) & (first <= high) & ~np.isnan(first)
    prompt = int(requests["prompt_tokens"][with_token].sum())
    ended = requests.finished & (requests["end_s"] > low) & (requests["end_s"] <= high)
    length = window.length_s
    made = tokens.made(low, high)
    output = made / length if length > 0 else None
    return {
        "output_tokens": made,
        "output_tokens_per_s": output,
        "output_tokens_per_s_per_gpu": output / gpus if output is not None and gpus else None,
        "prompt_tokens_per_s": prompt / length if length > 0 else None,
        "requests_per_s": int(ended.sum()) / length if length > 0 else None,
    }


def _service(
    requests: Requests, counted: Flags, slo: dict[str, float | None], window: Window
) -> Summary:
    """Cache hits, and how many requests met their SLO (null where none is given)."""
    admitted = counted & ~np.isnan(requests["first_step_s"])
    prompt = int(requests["prompt_tokens"][admitted].sum())
    cached = int(requests["cached_tokens"][admitted].sum())
    service: Summary = {
        "kv_hit_rate": cached / prompt if prompt else None,
        "goodput_requests_per_s": None,
        "slo_attainment": None,
        "slo": {name: slo.get(name) for name in ("ttft_s", "tpot_s", "e2e_s")},
    }
    if any(limit is not None for limit in slo.values()):
        good = int((meets(requests, slo) & counted).sum())
        arrived = int(counted.sum())
        service["goodput_requests_per_s"] = good / window.length_s if window.length_s else None
        service["slo_attainment"] = good / arrived if arrived else None
    return service


def _transfers(run: RunFolder, counted: Flags) -> Summary:
    """Handoffs of the counted requests: how many, how large; means of first to last byte, of what
    that takes after the prompt's end without and by other traffic, and of the wait before it."""
    c = run.columns("transfers")
    keep = counted[c["request"]] & ~np.isnan(c["end_s"])
    c = {name: values[keep] for name, values in c.items()}
    if not keep.any():
        return {"count": 0, "bytes": 0.0, "mean_s": None, "alone_s": None, "contention_s": None,
                "wait_s": None}  # fmt: skip
    start = np.fmax(c["start_s"], c["ready_s"])
    shared = c["end_s"] - start - c["alone_s"]
    return {
        "count": int(keep.sum()),
        "bytes": float(c["bytes"].sum()),
        "mean_s": float((c["end_s"] - c["start_s"]).mean()),
        "alone_s": float(c["alone_s"].mean()),
        "contention_s": float(np.maximum(shared, 0.0).mean()),
        "wait_s": float((start - c["ready_s"]).mean()),
    }


def _links(run: RunFolder, count: int = 5) -> list[Summary]:
    """The busiest links."""
    use = LinkUse.read(run)
    return [
        {
            "name": use.names[i],
            "bytes": float(use.nbytes[i]),
            "mean_utilisation": float(use.mean[i]),
            "peak_utilisation": float(use.peak[i]),
        }
        for i in use.busiest(count)
    ]


def _attribution(parts: pa.Table, counted: Flags) -> dict[str, dict[str, float]]:
    """Mean seconds of each part over the counted finished requests."""
    mask = counted[numbers(parts.column("request"))]
    if not mask.all():
        parts = parts.filter(pa.array(mask))
    if parts.num_rows == 0:
        return {}
    return {
        f"{whole}_s": {part: pc.mean(parts.column(f"{whole}_{part}")).as_py() for part in PARTS}
        for whole in ("ttft", "e2e")
    }


def bottleneck(attribution: dict[str, dict[str, float]]) -> str:
    """One sentence: what most of the time to the first token, and of the whole, goes into."""
    if not attribution:
        return "No request finished, so there is no latency to explain."
    said = []
    for whole, name in (("ttft_s", "the time to the first token"), ("e2e_s", "end-to-end time")):
        parts = attribution[whole]
        total = sum(parts.values())
        part = max(parts, key=lambda p: parts[p])
        share = parts[part] / total if total else 0.0
        said.append(f"{100 * share:.0f} % of {name} is {IN_WORDS[part]}")
    sentence = "; ".join(said)
    return sentence[0].upper() + sentence[1:] + "."
