"""Timing all shapes of a device, and writing tables in the layout that `sim calibrate` reads."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from statistics import median
from typing import Any

import pandas as pd

from sim.fidelity.bench import Copy, Device, Facts, Kernel, Nothing, Prefill, Product
from sim.fidelity.bench import shapes as grid
from sim.fidelity.bench.timing import StopRule, time_call

Row = dict[str, Any]
Progress = Callable[[int, int, str], None]
"""Shapes done, shapes in all, and the table that they are of."""

LAUNCHES, REPEATS = 2000, 7
MEMORY_SHARE = 0.5
"""Shapes with larger buffers than this share of the memory are left out."""
METHOD = (
    "median of samples of at least 1 ms, each one CUDA graph of many calls, timed by events after "
    "a warm-up; weights and KV caches change from call to call over twice the L2 cache, so that "
    "they come from memory; activations may be in the cache; random numbers; clocks not locked"
)


@dataclass(slots=True)
class _Session:
    """What is measured with, and how far it is."""

    device: Device
    facts: Facts
    rule: StopRule
    told: Progress
    total: int
    done: int = 0
    settled: int = 0
    left_out: dict[str, int] = field(default_factory=dict)

    def rows(self, table: str, kernels: Iterable[Kernel]) -> list[Row]:
        """A row of each kernel that the device can run."""
        rows = []
        for kernel in kernels:
            row = self._row(kernel)
            self.done += 1
            if row is None:
                self.left_out[table] = self.left_out.get(table, 0) + 1
            else:
                rows.append(row)
            self.told(self.done, self.total, table)
        return rows

    def _row(self, kernel: Kernel) -> Row | None:
        if kernel.nbytes > MEMORY_SHARE * self.facts.memory_bytes:
            return None
        prepared = self.device.prepare(kernel)
        if prepared is None:
            return None
        timing = time_call(prepared, self.rule)
        self.settled += timing.settled
        return {
            "kernel_source": prepared.source,
            **columns(kernel),
            "latency": 1e3 * timing.seconds,
        }

    def launches(self) -> dict[str, float]:
        """Seconds of the smallest kernel: host's and GPU's, one by one and in graphs."""
        eager, graph = (
            median(self.device.host_seconds(LAUNCHES, g) / LAUNCHES for _ in range(REPEATS))
            for g in (False, True)
        )
        found = {"eager_launch_s": eager, "graph_launch_s": graph}
        smallest = self.device.prepare(Nothing())
        if smallest is not None:
            found["kernel_in_graph_s"] = time_call(smallest, self.rule).seconds
        return found


def measure(
    device: Device,
    system: str,
    folder: Path,
    *,
    quick: bool = False,
    day: date | None = None,
    rule: StopRule | None = None,
    progress: Progress | None = None,
) -> Path:
    """Time everything and write it below `folder`; gives `FOLDER/SYSTEM/SOFTWARE`. Each table is
    written when it is complete, `device.json` last."""
    facts, work = device.facts(), _work(quick)
    told = progress or (lambda done, of, what: None)
    groups, calls = grid.groups(facts.gpus), grid.exchanges(quick)
    total = sum(len(kernels) for _, kernels in work) + len(groups) * len(calls)
    session = _Session(device, facts, rule or StopRule(), told, total)
    place = folder / system / facts.software
    bandwidth = 0.0
    for table, kernels in work:
        rows = session.rows(table, kernels)
        if rows:
            write_table(place / f"{table}.csv.gz", rows)
        if table == "memory":
            bandwidth = max((2e3 * r["bytes"] / r["latency"] for r in rows), default=0.0)
    exchanged: list[Row] = []
    for gpus in groups:
        exchanged += _exchanged(device, facts, system, gpus, quick)
        session.done += len(calls)
        told(session.done, total, f"nccl among {gpus} GPUs")
    if exchanged:
        write_table(folder / "collectives" / "nccl.csv.gz", exchanged)
    about = {
        "name": facts.name, "date": (day or date.today()).isoformat(), "software": facts.software,
        "gpus": facts.gpus, "memory_bytes": facts.memory_bytes, **facts.more,
        "launches": session.launches(), "copy_bytes_per_s": bandwidth,
        "shapes": {"timed": session.done, "settled": session.settled, "left_out": session.left_out},
        "method": METHOD,
    }  # fmt: skip
    (place / "device.json").write_text(json.dumps(about, indent=2) + "\n", encoding="utf-8")
    return place


def _work(quick: bool) -> list[tuple[str, Sequence[Kernel]]]:
    return [
        ("memory", tuple(grid.copies())),
        ("gemm", (*grid.products("bfloat16", quick), *grid.products("fp8", quick))),
        ("context_attention", tuple(grid.prefills(quick))),
        ("generation_attention", tuple(grid.decodes(quick))),
    ]


def columns(kernel: Kernel) -> Row:
    """The key columns of a kernel in its table."""
    if isinstance(kernel, Product):
        return {"gemm_dtype": kernel.dtype, "m": kernel.m, "n": kernel.n, "k": kernel.k}
    if isinstance(kernel, Copy):
        return {"bytes": kernel.size}
    if isinstance(kernel, Nothing):
        return {}
    if isinstance(kernel, Prefill):
        length, step = kernel.length, 0
    else:
        length, step = 1, kernel.context - 1
    return {
        "batch_size": kernel.batch, "isl": length, "num_heads": kernel.heads,
        "num_key_value_heads": kernel.kv_heads, "head_dim": kernel.head_dim, "window_size": 0,
        "attn_dtype": "bfloat16", "kv_cache_dtype": "bfloat16", "step": step,
    }  # fmt: skip


def _exchanged(device: Device, facts: Facts, system: str, gpus: int, quick: bool) -> list[Row]:
    calls = grid.exchanges(quick)
    return [
        {
            "system": system, "nccl_dir": facts.nccl, "op_name": call.operation,
            "nccl_dtype": "half", "num_gpus": gpus, "message_size": call.elements,
            "latency": 1e3 * seconds,
        }
        for call, seconds in zip(calls, device.exchange(gpus, calls), strict=True)
    ]  # fmt: skip


def write_table(path: Path, rows: Sequence[Row]) -> None:
    """A CSV table, gzipped; the same rows give the same bytes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    how: Any = {"method": "gzip", "mtime": 0}
    pd.DataFrame(rows).to_csv(path, index=False, compression=how, float_format="%.7g")
