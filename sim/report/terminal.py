"""The summary of a run on a terminal."""

from __future__ import annotations

from typing import Any

from rich.console import Console
from rich.table import Table

from sim.report.cards import number, percent, seconds
from sim.report.loop_terminal import print_loop

QUANTILES = ("mean", "p50", "p90", "p95", "p99")
LATENCIES = (("ttft_s", "TTFT"), ("itl_s", "ITL"), ("tpot_s", "TPOT"), ("e2e_s", "E2E"),
             ("queue_s", "queue"))  # fmt: skip


def print_summary(summary: dict[str, Any], console: Console) -> None:
    """Print latencies, rates, and where most of the time goes; a loop first."""
    if "rl" in summary:
        print_loop(summary["rl"], console)
    console.print(_latencies(summary))
    console.print(_rates(summary))
    if len(summary["pools"]) > 1:
        console.print(_pools(summary))
    console.print(summary["bottleneck"], highlight=False)
    counts = summary["requests"]
    meant = ("finished", "cancelled", *(("unfinished",) if "rl" in summary else ()))
    if summary["partial"] or sum(counts.get(s, 0) for s in meant) < counts["arrived"]:
        lost = ", ".join(f"{counts[s]} {s}" for s in ("rejected", "failed", "unfinished"))
        early = "The run was stopped early. " if summary["partial"] else ""
        console.print(f"{early}Of {counts['arrived']} requests: {lost}.", style="yellow")


def _latencies(summary: dict[str, Any]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="dim")
    table.add_column("")
    for name in QUANTILES:
        table.add_column(name, justify="right")
    more = (("icl_s", "ICL"),) if "icl_s" in summary else ()
    for key, name in (*LATENCIES[:2], *more, *LATENCIES[2:]):
        table.add_row(name, *(seconds(summary[key][q]) for q in QUANTILES))
    return table


def _rates(summary: dict[str, Any]) -> Table:
    """Rates and shares, a name and a value a row."""
    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column(style="dim")
    table.add_column(justify="right")
    table.add_column(style="dim")
    counts, slo = summary["requests"], summary["slo_attainment"]
    rows = [
        ("requests finished", number(counts["finished"]), f"of {number(counts['arrived'])}"),
        ("output tokens/s", number(summary["output_tokens_per_s"]),
         f"{number(summary['output_tokens_per_s_per_gpu'])} per GPU, "
         f"{number(summary['gpus'])} GPUs"),
        ("prompt tokens/s", number(summary["prompt_tokens_per_s"]),
         f"{percent(summary['kv_hit_rate'])} from cache"),
        ("GPUs busy", percent(summary["gpu_busy_share"]), ""),
    ]  # fmt: skip
    if slo is not None:
        rate = number(summary["goodput_requests_per_s"])
        rows.append(("goodput", f"{rate} requests/s", f"{percent(slo)} meet the SLO"))
    if counts.get("cancelled"):
        rows.append(("cancelled", number(counts["cancelled"]), "given up by their clients"))
    did = summary.get("speculation")
    if did is not None and did["drafts"]:
        rows.append((
            "speculation", f"{number(did['acceptance_length'])} tokens a step",
            f"{number(did['draft_length'])} drafts, × {number(did['speedup_over_plain'])} over "
            "plain decode steps",
        ))  # fmt: skip
    if summary["preemptions"]:
        rows.append(("preemptions", number(summary["preemptions"]), ""))
    for row in rows:
        table.add_row(*row)
    return table


def _pools(summary: dict[str, Any]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="dim")
    for head in ("pool", "engines", "GPUs", "busy", "decodes/rank", "prompt tok/s", "output tok/s",
                 "KV peak"):  # fmt: skip
        table.add_column(head, justify="left" if head == "pool" else "right")
    for name, p in summary["pools"].items():
        table.add_row(
            name, number(p["engines"]), number(p["gpus"]), percent(p["busy_share"]),
            number(p["mean_decode_batch"]), number(p["prefill_tokens_per_s"]),
            number(p["output_tokens_per_s"]), percent(p["kv_use_peak"]),
        )  # fmt: skip
    return table
