"""Where a draft without devices of its own runs: on those of the target's last stage, whose hidden
states it reads."""

from __future__ import annotations

from dataclasses import replace

from sim.perf.spread import Spread
from sim.perf.task import PriceTask, Wires


def one_stage(spread: Spread) -> Spread:
    """One stage of a pipeline, as a spread of its own."""
    return spread if spread.stages == 1 else replace(spread, stages=1)


def on_one_stage(task: PriceTask) -> PriceTask:
    """The task on the devices of the last stage alone."""
    if task.spread.stages == 1:
        return task
    w = task.wires
    last = Wires(w.rank[-1:], w.stage[-1:], w.heads[-1:], w.kv[-1:], ())
    return replace(task, spread=one_stage(task.spread), wires=last)
