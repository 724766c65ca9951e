"""A reinforcement-learning loop as events of a trace: a process with a track for each actor and one
for the steps, and counters of its samples and their age."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from sim.measure.loop import Loop
from sim.record.run_folder import RunFolder
from sim.record.tables import ACTORS, PHASES
from sim.report.loops import last_moment, levels_of, name_of

Event = dict[str, Any]

COLUMNS = ("state", "step", "submitted_s", "generated_s", "scored_s")

POINTS = 2_000
"""Moments at which samples are counted."""


def loop_events(run: RunFolder, pid: int) -> Iterator[Event]:
    """Events of the process `pid`; none for a run without a loop."""
    loop = Loop.read(run, *COLUMNS)
    if loop is None:
        return
    yield {"ph": "M", "pid": pid, "name": "process_name", "args": {"name": "RL loop"}}
    yield {"ph": "M", "pid": pid, "name": "process_sort_index", "args": {"sort_index": -1}}
    for track, name in enumerate(("steps", *ACTORS)):
        yield {"ph": "M", "pid": pid, "tid": track, "name": "thread_name",
               "args": {"name": name_of(name)}}  # fmt: skip
        yield {"ph": "M", "pid": pid, "tid": track, "name": "thread_sort_index",
               "args": {"sort_index": track}}  # fmt: skip
    yield from _steps(loop, pid)
    yield from _phases(loop, pid)
    yield from _samples(loop, pid)


def _us(seconds: float) -> float:
    return round(1e6 * seconds, 3)


def _steps(loop: Loop, pid: int) -> Iterator[Event]:
    """A slice per step, with the staleness of what it trained on as a counter."""
    c = {name: values.tolist() for name, values in loop.steps.items()}
    for i, step in enumerate(c["step"]):
        args = {k: c[k][i] for k in ("version", "samples", "prompts", "response_tokens",
                                     "longest_tokens", "filtered", "stale", "aborted",
                                     "in_flight", "staleness_max", "sync_bytes")}  # fmt: skip
        start, end = c["start_s"][i], c["end_s"][i]
        yield {"ph": "X", "pid": pid, "tid": 0, "ts": _us(start), "dur": _us(end - start),
               "name": f"step {step}", "cat": "rl", "args": args}  # fmt: skip
        if c["staleness"][i] == c["staleness"][i]:
            yield {"ph": "C", "pid": pid, "ts": _us(end), "name": "staleness",
                   "args": {"versions": round(c["staleness"][i], 6)}}  # fmt: skip


def _phases(loop: Loop, pid: int) -> Iterator[Event]:
    """A slice per phase of each actor."""
    c = {name: values.tolist() for name, values in loop.phases.items()}
    for actor, phase, step, start, end in zip(
        c["actor"], c["phase"], c["step"], c["start_s"], c["end_s"], strict=True
    ):
        yield {"ph": "X", "pid": pid, "tid": actor + 1, "ts": _us(start), "dur": _us(end - start),
               "name": name_of(PHASES[phase]), "cat": "rl", "args": {"step": step}}  # fmt: skip


def _samples(loop: Loop, pid: int) -> Iterator[Event]:
    """Samples being generated, being scored, and in the buffer, where that changes."""
    if len(loop.samples["state"]) == 0:
        return
    times = np.linspace(0.0, last_moment(loop), POINTS)
    for counts, words, _ in levels_of(loop, times):
        changes = np.flatnonzero(np.r_[True, counts[1:] != counts[:-1]])
        for i in changes.tolist():
            yield {"ph": "C", "pid": pid, "ts": _us(float(times[i])), "name": f"samples {words}",
                   "args": {"samples": int(counts[i])}}  # fmt: skip
