"""Playing a pipeline schedule with any times: a list scheduler over stages, chunks, micro-batches.

A pass starts when its stage has finished what is before it in the stage's order, and its input has
come. Exact for stages and micro-batches of unequal times.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from sim.errors import BrokenInvariant
from sim.perf.training.schedules import Work, order

Times = tuple[tuple[tuple[float, ...], ...], ...]
"""Seconds by stage, chunk and micro-batch. A single number for all micro-batches may stand for
equal ones: see `play`."""
_Passes = tuple[list[float], Sequence[float], list[float], float, float]
"""Of one direction and chunk in one stage, by micro-batch: when inputs come (negative: not yet),
seconds, when outputs come; seconds of the way, and those that it holds up the stage."""


@dataclass(frozen=True, slots=True)
class Played:
    """What came of a schedule."""

    seconds: float
    """From the first forward pass to the last backward pass of any stage."""
    busy_s: tuple[float, ...]
    """Work of every stage, sends that hold it up included."""

    @property
    def bubble(self) -> float:
        """Idle part of the busiest stage, in [0, 1]."""
        return 1.0 - max(self.busy_s) / self.seconds


@lru_cache(maxsize=32)
def play(
    schedule: str,
    forward_s: Times,
    backward_s: Times,
    micro_batches: int,
    send_s: float = 0.0,
    overlapped: bool = False,
) -> Played:
    """Play `micro_batches` through the stages.

    Innermost tuples hold one number per micro-batch, or a single one for all. `send_s` is the way
    of an activation, or its gradient, to the next stage; unless `overlapped`, the sending stage
    waits for it (Megatron-LM's synchronous point-to-point calls).
    """
    p, v = len(forward_s), len(forward_s[0])
    held = 0.0 if overlapped else send_s
    busy = tuple(
        _busy(forward_s[i], backward_s[i], micro_batches, held * _sends(i, p, v)) for i in range(p)
    )
    if schedule == "zero_bubble":
        return Played(max(busy), busy)
    orders = [order(schedule, p, micro_batches, v, i) for i in range(p)]
    one = len(forward_s[0][0]) == 1
    return Played(_makespan(orders, forward_s, backward_s, one, send_s, held), busy)


def _sends(stage: int, p: int, v: int) -> float:
    """Messages that a stage sends per micro-batch, both ways: at the ends of the pipeline one less
    for the first chunk and one less for the last."""
    if p == 1:
        return 0.0
    return 2.0 * v - (stage == 0) - (stage == p - 1)


def _busy(
    forward: tuple[tuple[float, ...], ...],
    backward: tuple[tuple[float, ...], ...],
    count: int,
    sends_s: float,
) -> float:
    times = [*forward, *backward]
    return sum(t[0] * count if len(t) == 1 else sum(t) for t in times) + count * sends_s


def _makespan(
    orders: Sequence[tuple[Work, ...]],
    forward_s: Times,
    backward_s: Times,
    one: bool,
    send_s: float,
    held_s: float,
) -> float:
    """Stages take turns as far as their inputs reach, until all orders are done."""
    ways = _ways(forward_s, backward_s, len(orders[0]), one, send_s, held_s)
    free, at = [0.0] * len(orders), [0] * len(orders)
    waiting = list(range(len(orders)))
    while waiting:
        moved = False
        for i in waiting:
            now, mine, there = free[i], orders[i], ways[i]
            k = at[i]
            for k in range(at[i], len(mine)):
                forward, chunk, j = mine[k]
                inbox, seconds, outbox, send, held = there[forward][chunk]
                ready = inbox[j]
                if ready < 0.0:
                    break
                now = (ready if ready > now else now) + seconds[j]
                outbox[j] = now + send
                now += held
            else:
                k = len(mine)
            moved = moved or k > at[i]
            at[i], free[i] = k, now
        waiting = [i for i in waiting if at[i] < len(orders[i])]
        if waiting and not moved:
            raise BrokenInvariant(f"pipeline stages {waiting} wait for each other")
    return max(free)


def _ways(
    forward_s: Times, backward_s: Times, passes: int, one: bool, send_s: float, held_s: float
) -> list[tuple[list[_Passes], list[_Passes]]]:
    """By stage, direction (backward first) and chunk. `passes`: of every stage."""
    p, v = len(forward_s), len(forward_s[0])
    count = passes // (2 * v)
    boxes = {(f, n): [-1.0] * count for f in (True, False) for n in range(p * v)}
    boxes[True, 0] = [0.0] * count

    def way(forward: bool, chunk: int, i: int) -> _Passes:
        times = (forward_s if forward else backward_s)[i][chunk]
        place = chunk * p + i
        to = _next(forward, place, p * v)
        leaves = to is not None and to[1] % p != i
        return (
            boxes[forward, place],
            times * count if one else times,
            boxes[to] if to is not None else [0.0] * count,
            send_s if leaves else 0.0,
            held_s if leaves else 0.0,
        )

    return [
        ([way(False, c, i) for c in range(v)], [way(True, c, i) for c in range(v)])
        for i in range(p)
    ]


def _next(forward: bool, place: int, places: int) -> tuple[bool, int] | None:
    """Where the output of a pass goes: one place on, back, or from the last forward into the last
    backward pass."""
    if forward:
        return (True, place + 1) if place + 1 < places else (False, place)
    return (False, place - 1) if place else None
