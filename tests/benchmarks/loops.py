"""How fast large rollouts are played, written and measured: `python -m tests.benchmarks.loops`.

A loop asks for all samples of a step at once, heavy-tailed in length, and for the next ones when
the last of them has ended (or, with `--closed`, for another whenever one has). Every phase has its
CPU and wall-clock seconds; all figures are printed, none is asserted.
"""

from __future__ import annotations

import argparse
import resource
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sim.measure import measure
from sim.record.run_folder import RunFolder
from sim.report import write_report
from sim.scenario.planning import Plan, open_workload, plan
from sim.scenario.scenario import Scenario
from sim.scenario.simulation import simulate
from sim.workload.request import Happening, Request
from sim.workload.trace import Trace


@dataclass
class Bursts:
    """Hands out the requests of a trace so many at a time, the next when all have ended."""

    asks: Trace
    size: int
    block_tokens: int = 0
    listens: bool = True
    _now_s: float = 0.0
    _left: int = 0
    _inside: int = 0
    _number: int = 0

    def __post_init__(self) -> None:
        self._left = self.size
        self._prompts = self.asks.prompt_tokens.tolist()
        self._outputs = self.asks.output_tokens.tolist()

    @property
    def expected(self) -> int:
        return len(self.asks)

    def peek(self) -> float | None:
        return self._now_s if self._left and self._number < len(self._prompts) else None

    def take(self) -> Request:
        number = self._number
        self._number += 1
        self._left -= 1
        self._inside += 1
        return Request(number, self._now_s, self._prompts[number], self._outputs[number])

    def on_event(self, what: Happening, request: Request, now_s: float) -> None:
        if what is not Happening.FIRST_TOKEN:
            self._inside -= 1
            if not self._inside and not self._left:
                self._now_s, self._left = now_s, self.size


def scenario(given: argparse.Namespace) -> dict[str, Any]:
    """A policy of 235 billion parameters on engines of 8 GPUs."""
    samples = given.prompts * given.samples
    batched = 4096 if given.drafts else 2048
    draft = {"acceptance": {"iid": 0.83}, "draft_tokens": given.drafts}
    arrivals: Any = {"closed_loop": {"concurrency": samples}} if given.closed else "at_once"
    return {
        "name": "loops",
        "workload": {
            "arrivals": arrivals,
            "requests": given.steps * samples,
            "prompt_tokens": {"lognormal": {"mean_tokens": 300, "sigma": 0.5, "max_tokens": 2000}},
            "output_tokens": {
                "lognormal": {"mean_tokens": 2500, "sigma": 1.0, "max_tokens": 32000}
            },
        },
        "model": "qwen3-235b-a22b",
        "topology": {"name": "dgx_h100", "nodes": given.engines},
        "pools": {
            "rollout": {
                "engines": given.engines,
                "layout": {"tensor": {"tp": 8}},
                "precision": {"weights": "fp8"},
                "engine": {"max_num_seqs": 512, "max_num_batched_tokens": batched},
                "speculation": {"eagle": draft} if given.drafts else "none",
            }
        },
        "record": {"clock": given.clock, "attribution": not given.brief},
    }


@contextmanager
def timed(what: str, requests: int) -> Iterator[None]:
    """Print the seconds of a phase, and the most memory until then."""
    wall, cpu = time.perf_counter(), time.process_time()
    yield
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(
        f"{what:10}{wall:9.2f} s wall{cpu:9.2f} s CPU{1e6 * cpu / requests:9.1f} µs/request"
        f"{most:9.2f} GiB",
        flush=True,
    )


def play(worked_out: Plan, given: argparse.Namespace, folder: RunFolder | None) -> None:
    """Play the loop; into memory without a folder."""
    source: Any = open_workload(worked_out)
    if not given.closed:
        source = Bursts(source.asks, given.prompts * given.samples)
    simulate(worked_out, folder, None, source)


def main() -> None:
    """Play, measure and draw one loop."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=2)
    parser.add_argument("--prompts", type=int, default=4096)
    parser.add_argument("--samples", type=int, default=16)
    parser.add_argument("--engines", type=int, default=128)
    parser.add_argument("--drafts", type=int, default=0, help="EAGLE, that many; 0 = none")
    parser.add_argument("--clock", default="runs")
    parser.add_argument("--closed", action="store_true")
    parser.add_argument("--brief", action="store_true", help="no attribution")
    parser.add_argument("--memory", action="store_true", help="play only, write nothing")
    given = parser.parse_args()
    worked_out = plan(Scenario.of(scenario(given)))
    requests = given.steps * given.prompts * given.samples
    if given.memory:
        with timed("play", requests):
            play(worked_out, given, None)
        return
    with tempfile.TemporaryDirectory() as path:
        run = RunFolder.create(Path(path) / "run")
        phases: dict[str, Callable[[], object]] = {
            "play": lambda: play(worked_out, given, run),
            "measure": lambda: measure(run),
            "report": lambda: write_report(run),
        }
        for what, phase in phases.items():
            with timed(what, requests):
                phase()
        print({t: run.rows(t) for t in ("requests", "intervals", "steps", "clock")})


if __name__ == "__main__":
    main()
