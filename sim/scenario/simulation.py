"""A run: the clock is driven, groups of rows are written, and at the end everything must add up."""

from __future__ import annotations

import gc
import platform
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from types import FrameType
from typing import Any

import numpy as np
from simpy.core import EmptySchedule

from sim import plugins
from sim.errors import BrokenInvariant
from sim.record.run_folder import RunFolder
from sim.scenario.build import Built, build
from sim.scenario.bursts import write_bursts
from sim.scenario.planning import Plan
from sim.workload.describe import describe
from sim.workload.request import Source

Progress = Callable[[int, int, float], None]
"""Told (requests that have ended, requests expected, simulated seconds) now and then."""

EVENTS_AT_ONCE = 4096
"""Events between two looks at the log, the progress bar and Ctrl-C."""

AFTER_ALL = 1 << 60
"""Order of the end of the run among events at its instant."""


class _UntilError(Exception):
    """The simulated time at which the run was to end has come."""


@dataclass(eq=False, slots=True)
class Interrupt:
    """Whether Ctrl-C was pressed: the run then ends between two events."""

    pressed: bool = False


@contextmanager
def listening_to_ctrl_c() -> Iterator[Interrupt]:
    """Turn the first Ctrl-C into a flag; the second one interrupts as usual."""
    interrupt = Interrupt()
    if threading.current_thread() is not threading.main_thread():
        yield interrupt
        return
    before = signal.getsignal(signal.SIGINT)

    def note(number: int, frame: FrameType | None) -> None:
        interrupt.pressed = True
        signal.signal(signal.SIGINT, before)

    signal.signal(signal.SIGINT, note)
    try:
        yield interrupt
    finally:
        signal.signal(signal.SIGINT, before)


@contextmanager
def rare_collections() -> Iterator[None]:
    """Let Python look for cycles of dead objects once in a million new ones: playing makes next to
    none, and every look passes over all that is alive (a tenth of a run's time)."""
    before = gc.get_threshold()
    gc.set_threshold(1_000_000, *before[1:])
    try:
        yield
    finally:
        gc.set_threshold(*before)


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a run ended."""

    built: Built
    partial: bool
    """Ended by Ctrl-C."""
    gave_up: str
    """Why a loop ended before its last step; empty if it did not."""
    simulated_s: float
    events: int
    """SimPy events that were processed (to a multiple of the batch they are counted in)."""


def simulate(
    plan: Plan,
    run: RunFolder | None,
    progress: Progress | None = None,
    source: Source | None = None,
) -> Outcome:
    """Play a planned scenario and write its tables (to memory when `run` is None). The `source` of
    requests is the plan's own when left out."""
    built = build(plan, run.path if run else None, source)
    until = plan.scenario.settings.until_s
    if until is not None:
        end = built.clock.at(until, AFTER_ALL)
        end.callbacks.append(_stop)
    if built.loop is not None and built.loop.finished.callbacks is not None:
        built.loop.finished.callbacks.append(_stop)
    try:
        with listening_to_ctrl_c() as interrupt, rare_collections():
            exhausted, events = _drive(built, interrupt, progress)
        _close(built, exhausted)
    except BaseException:
        built.log.abandon()
        raise
    simulated = built.cluster.last_end_s if exhausted else float(built.clock.now)
    partial = interrupt.pressed and not exhausted
    gave_up = built.loop.gave_up if built.loop is not None else ""
    outcome = Outcome(built, partial, gave_up, simulated, events)
    if run is not None:
        write_facts(outcome, run)
    return outcome


def _stop(event: object) -> None:
    raise _UntilError


def _drive(built: Built, interrupt: Interrupt, progress: Progress | None) -> tuple[bool, int]:
    """Step until nothing is left, the end is reached or Ctrl-C: (nothing is left, events)."""
    step, log, cluster = built.clock.step, built.log, built.cluster
    expected, events = built.source.expected, 0
    while not interrupt.pressed:
        try:
            for _ in range(EVENTS_AT_ONCE):
                step()
        except EmptySchedule:
            return True, events
        except _UntilError:
            return False, events
        events += EVENTS_AT_ONCE
        log.pump()
        if progress is not None:
            progress(sum(cluster.ended), expected, built.clock.now)
    return False, events


def _close(built: Built, exhausted: bool) -> None:
    """Write what is open and check what must hold."""
    cluster = built.cluster
    if exhausted and cluster.inside:
        raise BrokenInvariant(
            f"nothing is left to happen at {built.clock.now} s and {cluster.inside} requests "
            f"have not ended, the first of them request {cluster.first_inside}"
        )
    for pool in built.pools:
        for engine in pool.engines:
            if exhausted:
                engine.levers.check_empty()
            engine.levers.close()
    if built.loop is not None:
        if exhausted and not built.loop.finished.triggered:
            raise BrokenInvariant(
                f"nothing is left to happen at {built.clock.now} s and the loop is at step "
                f"{built.loop.books.rows} of {built.loop.steps}"
            )
        built.loop.close()
    cluster.close()
    built.fabric.settle(float(built.clock.now))
    _write_clocks(built)
    if built.log.keeps_steps:
        write_bursts(built)
    built.log.close()


def _write_clocks(built: Built) -> None:
    """The `clock` table: slot after slot, in the order of engines."""
    writer = built.log.writers["clock"]
    for pool in built.pools:
        for engine in pool.engines:
            for track in engine.tracks():
                n = len(track.ends)
                if n:
                    writer.write(
                        {
                            "engine": np.full(n, engine.number),
                            "slot": np.full(n, track.number),
                            "step": np.arange(n),
                            "end_s": np.frombuffer(track.ends),
                        }
                    )


def write_facts(outcome: Outcome, run: RunFolder) -> None:
    """The JSON files of the run folder."""
    built = outcome.built
    plan, s = built.plan, built.plan.scenario.settings
    run.write_text("scenario.yaml", plan.scenario.to_yaml())
    run.write_json("topology.json", plan.topology.to_json())
    run.write_json("assumptions.json", plan.assumptions())
    run.write_json("workload.json", describe(built.source))
    run.write_json(
        "run.json",
        {
            "name": s.name,
            "description": s.description,
            "seed": s.seed,
            "versions": versions(),
            "partial": outcome.partial,
            "gave_up": outcome.gave_up,
            "until_s": s.until_s,
            "simulated_s": outcome.simulated_s,
            "model": plan.pools[0].model.name,
            "topology": plan.topology.name,
            "deployment": plugins.name_of(s.deployment),
            "fabric": plugins.name_of(s.fabric),
            "link_bin_s": getattr(s.fabric, "bin_s", None),
            "slo": {"ttft_s": s.slo.ttft_s, "tpot_s": s.slo.tpot_s, "e2e_s": s.slo.e2e_s},
            "window": s.measure.plain(),
            "rl": built.loop_facts(),
            "record": s.record.plain(),
            "engines": _engines(built),
        },
    )


def _engines(built: Built) -> list[dict[str, Any]]:
    rows = []
    for pool, plan in zip(built.pools, built.plan.pools, strict=True):
        settings = plan.settings.engine
        for i, engine in enumerate(pool.engines):
            rows.append(
                {
                    "engine": engine.number,
                    "name": f"{pool.name}-{i}",
                    "pool": pool.name,
                    "role": pool.name,
                    "gpu": pool.gpu.name,
                    "gpus": plan.engine_gpus,
                    "devices": [*pool.devices[i], *plan.draft_devices(i)],
                    "layout": pool.spread.text,
                    "ranks": pool.spread.ranks,
                    "speculation": plugins.name_of(plan.settings.speculation),
                    "slots": len(engine.tracks()),
                    "passes": pool.spread.stages,
                    "kv_blocks": pool.memory.units,
                    "block_tokens": settings.block_size,
                    "max_num_seqs": settings.max_num_seqs,
                    "max_num_batched_tokens": settings.max_num_batched_tokens,
                    "weight_bytes": pool.memory.weight_bytes,
                    "kv_bytes": pool.memory.kv_bytes,
                    "kv_bytes_per_token": pool.memory.kv_bytes_per_token,
                }
            )
    return rows


def versions() -> dict[str, str]:
    """What the run was made with."""
    found = {"python": platform.python_version()}
    for package in ("llm-cluster-sim", "simpy", "numpy"):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "not installed"
    return found
