"""Tables of the report as rows of text."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any

from sim.report.cards import number, percent, seconds
from sim.units import human_bytes


@dataclass(frozen=True, slots=True)
class TextTable:
    """Column heads and rows of the same length."""

    heads: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    note: str = ""


def pool_table(summary: dict[str, Any]) -> TextTable:
    """One row per pool."""
    heads = (
        "pool", "role", "engines", "GPUs", "busy", "steps", "mean decode batch",
        "prompt tokens/s", "output tokens/s", "KV use mean", "KV use peak", "TTFT p50",
        "TTFT p99", "TPOT p50", "TPOT p99",
    )  # fmt: skip
    rows = []
    for name, p in summary["pools"].items():
        rows.append(
            (
                name, str(p["role"] or ""), number(p["engines"]), number(p["gpus"]),
                percent(p["busy_share"]), number(p["steps"]), number(p["mean_decode_batch"]),
                number(p["prefill_tokens_per_s"]), number(p["output_tokens_per_s"]),
                percent(p["kv_use_mean"]), percent(p["kv_use_peak"]),
                seconds(p["ttft_s"]["p50"]), seconds(p["ttft_s"]["p99"]),
                seconds(p["tpot_s"]["p50"]), seconds(p["tpot_s"]["p99"]),
            )
        )  # fmt: skip
    note = "Batches are per rank. TTFT is of the requests first computed in the pool."
    return TextTable(heads, tuple(rows), note)


def engine_table(engines: list[dict[str, Any]], most: int) -> TextTable:
    """One row per engine, at most `most`."""
    columns = ("engine", "name", "pool", "role", "gpu", "gpus", "layout", "ranks", "slots",
               "kv_blocks", "block_tokens", "max_num_seqs",
               "max_num_batched_tokens")  # fmt: skip
    rows = tuple(tuple(str(e.get(c, "")) for c in columns) for e in engines[:most])
    note = f"The first {most} of {len(engines)} engines." if len(engines) > most else ""
    return TextTable(tuple(c.replace("_", " ") for c in columns), rows, note)


def machine_table(topology: dict[str, Any] | None) -> TextTable:
    """GPUs and kinds of links of the machine."""
    topology = topology or {}
    gpus = Counter(str(d.get("gpu", "GPU")) for d in topology.get("devices", []))
    rows = [(f"GPU {name}", str(count), "") for name, count in sorted(gpus.items())]
    links = Counter(
        (str(link.get("kind", "")), float(link["capacity_bytes_per_s"]))
        for link in topology.get("links", [])
    )
    rows += [
        (f"{kind} links (one direction)", str(count), f"{human_bytes(speed)}/s each")
        for (kind, speed), count in sorted(links.items())
    ]
    note = ". ".join(str(topology[k]) for k in ("name", "summary") if topology.get(k))
    return TextTable(("what", "count", "speed"), tuple(rows), note)


def assumptions_table(assumptions: Any) -> TextTable:
    """What the run took for granted."""
    rows = tuple(
        (str(a.get("what", "")), str(a.get("value", "")), str(a.get("source", "")))
        for a in assumptions or []
    )
    return TextTable(("what", "value", "source or reason"), rows)
