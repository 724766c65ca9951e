"""A run as a trace for ui.perfetto.dev or chrome://tracing (Trace Event Format).

A process is an engine, a track a rank of one of its slots; a slice is a run of steps with the same
members. Handoffs are arrows from the prefill's step to the first decode step, and slices of the
process `network`. Counters: sequences, KV use, throughput of the busiest links. A loop is a process
of its own. Times are in µs.
"""

from __future__ import annotations

import gzip
import io
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO

import numpy as np

from sim.errors import ScenarioError
from sim.measure.fleet import Fleet
from sim.measure.ledger import Ledger
from sim.measure.stays import HANDED_OFF, Stays
from sim.measure.step_rows import step_rows
from sim.measure.utilisation import CAUSES, LinkUse
from sim.record.log import Columns
from sim.record.run_folder import RunFolder
from sim.report.loop_trace import loop_events

Event = dict[str, Any]

NETWORK = 0
"""Process number of the network; engine e is process e + 1."""

BUSIEST = 16
"""Links with a counter of their own."""

STEP_COLUMNS = (
    "engine", "rank", "slot", "first_step", "n", "start_s", "end_s", "prefill_tokens", "prefills",
    "decodes", "context_tokens", "used_blocks", "waiting", "draft_tokens", "accepted",
    *CAUSES,
)  # fmt: skip


def write_trace(run: RunFolder, path: Path | str) -> int:
    """Write the trace (gzipped if the name ends in `.gz`); returns the number of events.

    Raises ScenarioError when the file cannot be written.
    """
    count = 0
    try:
        with _opened(Path(path)) as out:
            out.write('{"displayTimeUnit":"ms","traceEvents":[')
            for event in events(run):
                out.write(",\n" if count else "\n")
                out.write(json.dumps(event, separators=(",", ":"), allow_nan=False))
                count += 1
            out.write("\n]}\n")
    except OSError as error:
        raise ScenarioError(f"'{path}' cannot be written ({error.strerror})") from error
    return count


def events(run: RunFolder) -> Iterator[Event]:
    """All events of a run, one after the other."""
    fleet = Fleet.read(run)
    yield from _names(fleet)
    rows = step_rows(run, *STEP_COLUMNS)
    yield from _steps(fleet, rows)
    yield from _counters(fleet, rows)
    yield from _transfers(run)
    yield from _arrows(run, fleet)
    yield from _links(run)
    yield from loop_events(run, len(fleet.engines) + 1)


@contextmanager
def _opened(path: Path) -> Iterator[TextIO]:
    """A text file, or a gzipped one without a time stamp."""
    if path.suffix == ".gz":
        with (
            path.open("wb") as raw,
            gzip.GzipFile("", "wb", compresslevel=5, fileobj=raw, mtime=0) as packed,
            io.TextIOWrapper(packed, encoding="utf-8") as out,
        ):
            yield out
    else:
        with path.open("w", encoding="utf-8", newline="\n") as out:
            yield out


def _us(seconds: float) -> float:
    return round(1e6 * seconds, 3)


def _track(fleet: Fleet, engine: int, rank: int, slot: int) -> int:
    return slot * int(fleet.engines[engine]["ranks"]) + rank


def _names(fleet: Fleet) -> Iterator[Event]:
    """Names and order of processes and tracks."""
    yield {"ph": "M", "pid": NETWORK, "name": "process_name", "args": {"name": "network"}}
    for e, facts in enumerate(fleet.engines):
        name = f"{facts['pool']}: {fleet.name(e)} ({facts.get('layout', '')})"
        yield {"ph": "M", "pid": e + 1, "name": "process_name", "args": {"name": name}}
        yield {"ph": "M", "pid": e + 1, "name": "process_sort_index", "args": {"sort_index": e + 1}}
        for slot in range(int(facts["slots"])):
            for rank in range(int(facts["ranks"])):
                label = f"slot {slot}" + (f", rank {rank}" if int(facts["ranks"]) > 1 else "")
                track = _track(fleet, e, rank, slot)
                yield {"ph": "M", "pid": e + 1, "tid": track, "name": "thread_name",
                       "args": {"name": label}}  # fmt: skip


def _steps(fleet: Fleet, rows: Columns) -> Iterator[Event]:
    """One slice per run of steps and rank."""
    c = {name: values.tolist() for name, values in rows.items()}
    for i in range(len(rows["n"])):
        e, n, prompt, decodes = c["engine"][i], c["n"][i], c["prefill_tokens"][i], c["decodes"][i]
        parts = [f"prefill {prompt}"] if prompt else []
        parts += [f"decode {decodes}"] if decodes else []
        args = {
            "step": c["first_step"][i], "steps": n, "prefill_tokens": prompt,
            "prefills": c["prefills"][i], "decodes": decodes,
            "context_tokens": c["context_tokens"][i],
        }  # fmt: skip
        if c["draft_tokens"][i]:
            args |= {"draft_tokens": c["draft_tokens"][i], "accepted": c["accepted"][i]}
        args |= {f"{cause[:-2]}_us": _us(c[cause][i]) for cause in CAUSES if c[cause][i]}
        yield {
            "ph": "X", "pid": e + 1, "tid": _track(fleet, e, c["rank"][i], c["slot"][i]),
            "ts": _us(c["start_s"][i]), "dur": _us(c["end_s"][i] - c["start_s"][i]),
            "name": (" + ".join(parts) or "idle pass") + (f" × {n}" if n > 1 else ""),
            "cat": "step", "args": args,
        }  # fmt: skip


def _counters(fleet: Fleet, rows: Columns) -> Iterator[Event]:
    """Sequences and KV use of each rank, where they change."""
    last: dict[tuple[int, int, int], tuple[int, int, int]] = {}
    running = (rows["decodes"] + rows["prefills"]).tolist()
    c = {k: rows[k].tolist() for k in ("engine", "rank", "slot", "start_s", "waiting",
                                       "used_blocks")}  # fmt: skip
    for i, members in enumerate(running):
        e, rank, slot = c["engine"][i], c["rank"][i], c["slot"][i]
        now = (members, c["waiting"][i], c["used_blocks"][i])
        before = last.get((e, rank, slot), (-1, -1, -1))
        last[e, rank, slot] = now
        base = {"ph": "C", "pid": e + 1, "ts": _us(c["start_s"][i])}
        place = f" slot {slot} rank {rank}"
        if now[0] != before[0]:
            yield base | {"name": "running" + place, "args": {"sequences": now[0]}}
        if now[1] != before[1]:
            yield base | {"name": f"waiting rank {rank}", "args": {"sequences": now[1]}}
        if now[2] != before[2]:
            use = now[2] / max(float(fleet.kv_blocks[e]), 1.0)
            yield base | {"name": f"KV use rank {rank}", "args": {"share": round(use, 6)}}


def _transfers(run: RunFolder) -> Iterator[Event]:
    """One slice per transfer on the network; they may overlap."""
    c = {name: values.tolist() for name, values in run.columns("transfers").items()}
    for i in range(len(c["request"])):
        if not c["end_s"][i] >= c["start_s"][i]:
            continue
        name = f"handoff of request {c['request'][i]}"
        base = {"pid": NETWORK, "tid": 0, "cat": "handoff", "id": i, "name": name}
        args = {
            "request": c["request"][i], "from_engine": c["src_engine"][i],
            "to_engine": c["dst_engine"][i], "bytes": c["bytes"][i],
            "alone_us": _us(c["alone_s"][i]), "asked_us": _us(c["asked_s"][i]),
        }  # fmt: skip
        yield base | {"ph": "b", "ts": _us(c["start_s"][i]), "args": args}
        yield base | {"ph": "e", "ts": _us(c["end_s"][i])}


def _arrows(run: RunFolder, fleet: Fleet) -> Iterator[Event]:
    """An arrow from the last step of each handed-off stay to the first of the next."""
    ledger = Ledger.read(run)
    stays = Stays.read(run, ledger)
    lane = ledger.key // ledger.lanes.steps
    moved = np.flatnonzero((stays.closed[:-1] == HANDED_OFF) & ~stays.first[1:])
    for number, i in enumerate(moved.tolist()):
        ends = (("s", i, int(stays.high[i])), ("f", i + 1, int(stays.low[i + 1])))
        for phase, stay, row in ends:
            slots, ranks = ledger.lanes.slots, ledger.lanes.ranks
            slot, rank = int(lane[row]) % slots, int(lane[row]) // slots % ranks
            engine = int(stays.engine[stay])
            event = {
                "ph": phase, "pid": engine + 1, "tid": _track(fleet, engine, rank, slot),
                "ts": _us(float(ledger.start_s[row])), "id": number, "cat": "handoff",
                "name": "KV handoff", "args": {"request": int(stays.request[stay])},
            }  # fmt: skip
            yield event | ({"bp": "e"} if phase == "f" else {})


def _links(run: RunFolder) -> Iterator[Event]:
    """Bytes per second of the busiest links."""
    use = LinkUse.read(run)
    shown = np.isin(use.link, use.busiest(BUSIEST))
    order = np.lexsort((use.time_s[shown], use.link[shown]))
    link, time_s = use.link[shown][order], use.time_s[shown][order]
    rate = use.utilisation[shown][order] * use.capacity_bytes_per_s[link]
    for i, t, r in zip(link.tolist(), time_s.tolist(), rate.tolist(), strict=True):
        yield {"ph": "C", "pid": NETWORK, "ts": _us(t), "name": use.names[i],
               "args": {"bytes_per_s": round(r)}}  # fmt: skip
