"""Playing scenarios in tests: a mapping in, tables out, nothing written but a small trace."""

from __future__ import annotations

import signal
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from types import FrameType
from typing import Any

import pandas as pd
import pyarrow as pa

from sim.record.run_folder import RunFolder
from sim.scenario import simulation
from sim.scenario.build import Built
from sim.scenario.planning import Plan, plan
from sim.scenario.scenario import Scenario
from sim.scenario.simulation import Outcome, simulate

TABLES = ("requests", "intervals", "chunks", "steps", "clock", "transfers", "links", "engines")


@dataclass(frozen=True)
class Ask:
    """One line of a trace made for a test."""

    arrival_s: float = 0.0
    prompt: int = 1
    output: int = 1
    ids: tuple[int, ...] = ()
    max_tokens: int | None = None


@dataclass(frozen=True)
class Run:
    """A run that has been played."""

    plan: Plan
    outcome: Outcome

    def arrow(self, name: str) -> pa.Table:
        return self.outcome.built.log.writers[name].kept()

    def table(self, name: str) -> pd.DataFrame:
        frame = self.arrow(name).to_pandas()
        for column in frame.columns:
            if isinstance(frame[column].dtype, pd.CategoricalDtype):
                frame[column] = frame[column].astype(str)
        return frame

    @property
    def requests(self) -> pd.DataFrame:
        return self.table("requests").sort_values("request").reset_index(drop=True)

    @property
    def engines(self) -> list[Any]:
        return [e for p in self.outcome.built.pools for e in p.engines]


def constant(tokens: int) -> dict[str, Any]:
    """A law of lengths that always gives the same."""
    return {"constant": {"tokens": tokens}}


def steady(step_s: float, token_s: float = 0.0) -> dict[str, Any]:
    """A timer whose steps all take the same time."""
    return {"constant": {"step_s": step_s, "token_s": token_s}}


def generated(requests: int, prompt: int, output: int, arrivals: Any) -> dict[str, Any]:
    """A workload of equal requests."""
    return {
        "requests": requests,
        "prompt_tokens": constant(prompt),
        "output_tokens": constant(output),
        "arrivals": arrivals,
    }


def serving(workload: Mapping[str, Any], /, **changes: Any) -> dict[str, Any]:
    """A scenario: one llama-3.1-8b engine on one H100, unless `changes` say otherwise."""
    tree: dict[str, Any] = {
        "workload": dict(workload),
        "model": "llama-3.1-8b",
        "topology": "single_gpu",
        "pools": {"serve": {}},
    }
    return tree | changes


def write_trace(path: Path, asks: Sequence[Ask], block_tokens: int = 16) -> None:
    """The asks as a canonical CSV."""
    known = any(a.ids for a in asks)
    names = ["arrival_s", "prompt_tokens", "output_tokens", "max_tokens"]
    lines = [",".join(names + ["block_tokens", "block_ids"] * known)]
    for a in asks:
        cells = [repr(a.arrival_s), str(a.prompt), str(a.output), str(a.max_tokens or "")]
        cells += [str(block_tokens), " ".join(map(str, a.ids))] * known
        lines.append(",".join(cells))
    path.write_text("\n".join(lines) + "\n")


@contextmanager
def traced(asks: Sequence[Ask], block_tokens: int = 16) -> Iterator[dict[str, Any]]:
    """A workload that replays the asks."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "asks.csv"
        write_trace(path, asks, block_tokens)
        yield {"path": str(path), "reader": "canonical"}


def planned(tree: Mapping[str, Any], units: int | Mapping[str, int] | None = None) -> Plan:
    """The plan of a scenario; `units` makes the KV pools that small (by pool, or all)."""
    made = plan(Scenario.of(tree))
    if units is None:
        return made
    pools = []
    for pool in made.pools:
        wanted = units if isinstance(units, int) else units.get(pool.name)
        if wanted is not None:
            pool = replace(pool, memory=replace(pool.memory, units=wanted))
        pools.append(pool)
    return replace(made, pools=tuple(pools))


@contextmanager
def within_seconds(seconds: int) -> Iterator[None]:
    """A run that does not end fails instead of hanging the suite."""

    def give_up(number: int, frame: FrameType | None) -> None:
        raise AssertionError(f"the run had not ended after {seconds} s of real time")

    before = signal.signal(signal.SIGALRM, give_up)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def _simulate(made: Plan, folder: RunFolder | None) -> Run:
    with within_seconds(20):
        return Run(made, simulate(made, folder))


Meddle = Callable[[Built], None]
"""Called with the cluster that is about to run: plans what others do to it."""


def play(
    tree: Mapping[str, Any],
    *,
    units: int | Mapping[str, int] | None = None,
    meddle: Meddle | None = None,
    folder: RunFolder | None = None,
) -> Run:
    """Play a scenario, in memory where no folder is given."""
    made = planned(tree, units)
    if meddle is None:
        return _simulate(made, folder)
    original = simulation.build

    def build(*arguments: Any) -> Built:
        built = original(*arguments)
        meddle(built)
        return built

    simulation.build = build
    try:
        return _simulate(made, folder)
    finally:
        simulation.build = original


def play_asks(
    asks: Sequence[Ask],
    *,
    block_tokens: int = 16,
    units: int | Mapping[str, int] | None = None,
    meddle: Meddle | None = None,
    **changes: Any,
) -> Run:
    """Play the asks."""
    with traced(asks, block_tokens) as workload:
        return play(serving(workload, **changes), units=units, meddle=meddle)


def column_bytes(table: pa.Table) -> dict[str, bytes]:
    """The very bits of every column (NaNs equal themselves, −0 is not 0)."""
    out = {}
    for name in table.column_names:
        column = table[name].combine_chunks()
        if pa.types.is_dictionary(column.type):
            column = column.indices if isinstance(column, pa.DictionaryArray) else pa.array([])
        out[name] = column.to_numpy(zero_copy_only=False).tobytes()
    return out


def assert_same_tables(one: Run, other: Run, names: Sequence[str] = TABLES) -> None:
    """Every table has the same bytes in both runs."""
    bursts = [n for n in ("bursts",) if n in one.outcome.built.log.writers]
    for name in (*names, *bursts):
        if column_bytes(one.arrow(name)) != column_bytes(other.arrow(name)):
            pd.testing.assert_frame_equal(one.table(name), other.table(name), check_exact=True)
            raise AssertionError(f"{name}: equal values, other bits")
