"""Pipelines in which micro-batches skip stages (SkipPipe, arXiv 2502.19913).

Every micro-batch has a path, the stages that it visits; backward it goes the same way back. A stage
works one pass at a time, backward passes first, whatever has come first among equals. Embedding and
head are cheap enough to belong to every path's ends.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from heapq import heappop, heappush

from sim.errors import ScenarioError
from sim.perf.training.play import Played, Times

Path = tuple[int, ...]
"""Stages in the order in which a micro-batch visits them."""


def skipping_paths(stages: int, micro_batches: int, skipped: int) -> tuple[Path, ...]:
    """Every micro-batch skips `skipped` stages, in turn, so that all stages are skipped equally
    often (as far as the micro-batches divide)."""
    if not 0 <= skipped < stages:
        raise ScenarioError(
            f"rl.trainer: skipped={skipped} of {stages} stages leaves no stage; write 0 to "
            f"{stages - 1}"
        )
    left = [{(j * skipped + i) % stages for i in range(skipped)} for j in range(micro_batches)]
    return tuple(tuple(s for s in range(stages) if s not in out) for out in left)


def around(paths: Sequence[Path], failed: int) -> tuple[Path, ...]:
    """The paths without a stage that has failed: training goes on, its layers left out."""
    return tuple(tuple(s for s in path if s != failed) for path in paths)


def skipped_s(p: int, m: int, f: float, b: float, share: float) -> float:
    """Bound: no stage works less than m·(1 − share)·(f + b), and the last micro-batch's path is
    (1 − share)·p long: ((m + p)·(1 − share) − 1)·(f + b) for equal stages and free sends."""
    return ((m + p) * (1.0 - share) - 1.0) * (f + b)


@dataclass(order=True, slots=True)
class _Pass:
    """A pass that waits for its stage, the most urgent first."""

    forward: bool
    came: float
    micro: int
    place: int
    """On the micro-batch's path."""


ARRIVAL, LOOK = 0, 1
"""Order within one instant: all passes come before a stage chooses one."""


def play_paths(
    paths: Sequence[Path],
    forward_s: Sequence[float],
    backward_s: Sequence[float],
    send_s: Sequence[Sequence[float]],
    in_flight: int,
) -> Played:
    """Play micro-batches along their paths; times by stage, `send_s` by pair of stages.

    At most `in_flight` micro-batches have begun and not ended, which bounds activations as 1F1B
    does with as many as there are stages.
    """
    played = _Play(paths, (backward_s, forward_s), send_s, len(forward_s))
    for _ in range(min(in_flight, len(paths))):
        played.begin(0.0)
    return Played(played.run(), tuple(played.busy))


def play_skipping(
    skipped: int, forward: Times, backward: Times, micro_batches: int, send_s: float
) -> Played:
    """A 1F1B pipeline whose micro-batches leave out `skipped` stages in turn, each taking the mean
    time of all in a stage, sends alike between any two."""
    stages = len(forward)

    def means(times: Times) -> list[float]:
        return [sum(sum(chunk) for chunk in stage) / len(stage[0]) for stage in times]

    send = [[send_s] * stages for _ in range(stages)]
    paths = skipping_paths(stages, micro_batches, skipped)
    return play_paths(paths, means(forward), means(backward), send, stages)


@dataclass(eq=False, slots=True)
class _Play:
    """Stages as servers, with what waits for them."""

    paths: Sequence[Path]
    seconds: tuple[Sequence[float], Sequence[float]]
    """By direction (backward first) and stage."""
    send_s: Sequence[Sequence[float]]
    stages: int
    begun: int = 0
    events: list[tuple[float, int, int, _Pass | None]] = field(default_factory=list)
    """Time, what, stage, the pass that comes."""
    queues: list[list[_Pass]] = field(init=False)
    free: list[float] = field(init=False)
    busy: list[float] = field(init=False)

    def __post_init__(self) -> None:
        self.queues = [[] for _ in range(self.stages)]
        self.free, self.busy = [0.0] * self.stages, [0.0] * self.stages

    def begin(self, at: float) -> None:
        """The next micro-batch enters, if one is left."""
        if self.begun < len(self.paths):
            self.begun += 1
            self._arrive(_Pass(True, at, self.begun - 1, 0))

    def run(self) -> float:
        """Until nothing is left; the time of the last pass."""
        while self.events:
            now, what, stage, one = heappop(self.events)
            if what == ARRIVAL and one is not None:
                heappush(self.queues[stage], one)
                heappush(self.events, (max(now, self.free[stage]), LOOK, stage, None))
            elif self.free[stage] <= now and self.queues[stage]:
                self._work(now, stage)
        return max(self.free)

    def _arrive(self, one: _Pass) -> None:
        heappush(self.events, (one.came, ARRIVAL, self.paths[one.micro][one.place], one))

    def _work(self, now: float, stage: int) -> None:
        one = heappop(self.queues[stage])
        seconds = self.seconds[one.forward][stage]
        done = self.free[stage] = now + seconds
        self.busy[stage] += seconds
        heappush(self.events, (done, LOOK, stage, None))
        path = self.paths[one.micro]
        to = _next(one, len(path))
        if to is None:
            self.begin(done)
        else:
            at = done + self.send_s[stage][path[to[1]]]
            self._arrive(_Pass(to[0], at, one.micro, to[1]))


def _next(work: _Pass, places: int) -> tuple[bool, int] | None:
    """(forward?, place) of the pass that follows; None behind the last."""
    if work.forward:
        return (True, work.place + 1) if work.place + 1 < places else (False, work.place)
    return (False, work.place - 1) if work.place else None
