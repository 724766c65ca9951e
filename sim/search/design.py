"""What all loads on a design share: its plan, checked, and its timers, compiled."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import lru_cache

from sim.errors import ScenarioError
from sim.perf.step_timer import TableTimer
from sim.plugins import name_of
from sim.scenario.planning import Plan
from sim.scenario.pools import PoolPlan
from sim.search.machine import work_out
from sim.search.point import Point
from sim.search.schedule import Rules

BATCHERS = ("chunked_prefill", "prefill_first")


@dataclass(frozen=True, slots=True)
class Design:
    """A point's plan with its timers compiled: what all loads on it share."""

    plan: Plan
    timers: dict[str, TableTimer] = field(hash=False)


def design(point: Point) -> Design:
    """The plan and timers of a point, without speculation."""
    bare = replace(point, concurrency=1, prompt_tokens=1, output_tokens=2, speculation=None)
    return _design(_Key(bare))


@dataclass(frozen=True, slots=True)
class _Key:
    """Points compare by what is written in them."""

    point: Point

    def __hash__(self) -> int:
        return hash(repr(self.point))


@lru_cache(maxsize=32)
def _design(key: _Key) -> Design:
    made = work_out(key.point)
    wanted = 1 if key.point.split is None else 2
    if len(made.pools) != wanted:
        names = ", ".join(p.name for p in made.pools)
        raise ScenarioError(
            f"--set pools: an estimate has {wanted} pools, not {names}; leave it out"
        )
    for pool in made.pools:
        _check(pool)
    return Design(made, {p.name: p.settings.timer.compile(p.tasks[0]) for p in made.pools})


def _check(pool: PoolPlan) -> None:
    """Refuse settings that an estimate would have to ignore."""
    name, engine = name_of(pool.settings.engine.batcher), pool.settings.engine
    if name not in BATCHERS:
        raise ScenarioError(
            f"pools.{pool.name}.engine.batcher: {name} is not estimated; write one of "
            f"{', '.join(BATCHERS)}, or play it with `sim run`"
        )
    if pool.spread.stages > 1 and not engine.batcher.mixed:
        raise ScenarioError(
            f"pools.{pool.name}.engine.batcher: {name} is not estimated with pipeline stages; "
            "write chunked_prefill, or play it with `sim run`"
        )


def rules_of(pool: PoolPlan, places: int, decode_tokens: int = 1) -> Rules:
    """What a rank of a pool may do, with so many tokens of a sequence in a pass that decodes it."""
    engine = pool.settings.engine
    mixed, stages = engine.batcher.mixed, pool.spread.stages
    return Rules(engine.max_num_batched_tokens, places, mixed, stages, decode_tokens)
