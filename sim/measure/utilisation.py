"""How busy engines, GPUs, KV pools and links were: totals of a window, and series over time.

A GPU is busy while a step runs on it, except where the step waits for another stage or for the
slowest rank. The busy share is over the time of the window and all GPUs, idle ones too.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sim.measure.bins import spread
from sim.measure.fleet import Fleet
from sim.measure.ledger import Floats, Ints
from sim.measure.step_rows import step_rows
from sim.measure.window import Window
from sim.record.log import Columns
from sim.record.run_folder import RunFolder

CAUSES = (
    "linear_s", "attention_s", "experts_s", "draft_s", "collective_s", "host_s", "contention_s",
    "rank_wait_s", "pipeline_s",
)  # fmt: skip
"""What the seconds of a step are spent on; the last two are not work."""

READ = (
    "engine", "rank", "start_s", "end_s", "n", "prefill_tokens", "prefills", "decodes", "sampled",
    "used_blocks", "cached_blocks", "waiting", "pipeline_s", "rank_wait_s", "accepted",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Activity:
    """The steps of a run, and until when what each says of its rank's KV pool and line holds."""

    fleet: Fleet
    rows: Columns
    holds_until_s: Floats

    @classmethod
    def read(cls, run: RunFolder, *more: str) -> Activity:
        """Read the steps, with the columns named besides the usual ones."""
        rows = step_rows(run, *dict.fromkeys((*READ, *more)))
        return cls(Fleet.read(run), rows, _holds_until(rows))

    def busy_s(self) -> Floats:
        """Per row: seconds in which the rank's GPUs worked, as a share of the engine's."""
        r = self.rows
        worked = r["end_s"] - r["start_s"] - r["pipeline_s"] - r["rank_wait_s"]
        return np.asarray(worked / self.fleet.lanes[r["engine"]])

    def by_engine(self, values: NDArray[Any], share: Floats) -> Floats:
        """Σ value · share of the rows of each engine."""
        size = len(self.fleet.engines)
        sums = np.bincount(self.rows["engine"], weights=values * share, minlength=size)
        return sums.astype(np.float64)

    def rates(self, column: str, edges: Floats, by: Ints, groups: int) -> Floats:
        """Per second, by group and bin, of what a step has `column` of (tokens); accepted drafts
        are among those sampled."""
        r = self.rows
        amount = r[column] * r["n"] + (r["accepted"] if column == "sampled" else 0)
        sums = spread(r["start_s"], r["end_s"], amount, edges, by[r["engine"]], groups)
        return np.asarray(sums / np.diff(edges))

    def levels(self, values: NDArray[Any], edges: Floats, by: Ints, groups: int) -> Floats:
        """Mean over time, by group and bin, of what goes on during a row (members, seconds of a
        cause per second): summed over ranks and slots."""
        r = self.rows
        amount = values * (r["end_s"] - r["start_s"])
        sums = spread(r["start_s"], r["end_s"], amount, edges, by[r["engine"]], groups)
        return np.asarray(sums / np.diff(edges))

    def states(self, values: NDArray[Any], edges: Floats, by: Ints, groups: int) -> Floats:
        """Mean over time, by group and bin, of a state of the rank seen by each row (waiting
        sequences, blocks): summed over ranks, not over slots."""
        r = self.rows
        amount = values * (self.holds_until_s - r["start_s"])
        sums = spread(r["start_s"], self.holds_until_s, amount, edges, by[r["engine"]], groups)
        return np.asarray(sums / np.diff(edges))


def _holds_until(rows: Columns) -> Floats:
    """The next row's start in the same rank, in any slot, or its own end if that is sooner."""
    start, end = rows["start_s"], rows["end_s"]
    if len(start) == 0:
        return np.zeros(0)
    lane = rows["engine"] * (int(rows["rank"].max()) + 1) + rows["rank"]
    order = np.lexsort((start, lane))
    following = np.full(len(start), np.inf)
    same = lane[order][1:] == lane[order][:-1]
    following[order[:-1]] = np.where(same, start[order][1:], np.inf)
    return np.asarray(np.minimum(end, np.maximum(following, start)))


def engine_totals(activity: Activity, window: Window) -> dict[str, Floats]:
    """Per engine, over the window: busy_share, steps, tokens, batch sums, KV use.

    Steps that the window cuts count with the share of their time that lies in it.
    """
    r, fleet = activity.rows, activity.fleet
    share = window.share(r["start_s"], r["end_s"])
    length = window.length_s or np.nan
    held = window.share(r["start_s"], activity.holds_until_s)
    held = held * (activity.holds_until_s - r["start_s"])
    use = (r["used_blocks"]) / np.maximum(fleet.kv_blocks[r["engine"]], 1.0)
    peak = np.zeros(len(fleet.engines))
    np.maximum.at(peak, r["engine"], np.where(held > 0, use, 0.0))
    n = r["n"]
    return {
        "busy_share": activity.by_engine(activity.busy_s(), share) / length,
        "steps": activity.by_engine(np.where(r["rank"] == 0, n, 0), share),
        "decode_steps": activity.by_engine(np.where(r["decodes"] > 0, n, 0), share),
        "decode_sequences": activity.by_engine(r["decodes"] * n, share),
        "decode_tokens": activity.by_engine(r["decodes"] * n + r["accepted"], share),
        "prefill_tokens": activity.by_engine(r["prefill_tokens"] * n, share),
        "sampled_tokens": activity.by_engine(r["sampled"] * n + r["accepted"], share),
        "kv_use_s": activity.by_engine(use, held),
        "kv_held_s": activity.by_engine(np.ones(len(n)), held),
        "kv_use_peak": peak,
    }


@dataclass(frozen=True, slots=True)
class LinkUse:
    """How much of each link's capacity was used; entry i is link `topology.json:links[i]`."""

    names: tuple[str, ...]
    kinds: tuple[str, ...]
    capacity_bytes_per_s: Floats
    nbytes: Floats
    mean: Floats
    """Bytes over capacity times the simulated time."""
    peak: Floats
    """The same in the link's fullest bin."""
    bin_s: float
    link: Ints
    """Per row of `links`: which link."""
    time_s: Floats
    """Per row: start of its bin."""
    utilisation: Floats
    """Per row: share of the capacity."""

    @classmethod
    def read(cls, run: RunFolder) -> LinkUse:
        """Join `links` with topology.json."""
        listed = run.read_json("topology.json").get("links", []) if run.has("topology.json") else []
        listed = sorted(listed, key=lambda link: int(link["index"]))
        c = run.columns("links", "link", "bin_s", "bytes")
        simulated_s = float(run.facts.get("simulated_s") or 0.0)
        capacity = np.array([link["capacity_bytes_per_s"] for link in listed], dtype=np.float64)
        width = _bin_width(run, c["bin_s"], simulated_s)
        size = len(listed)
        nbytes = np.bincount(c["link"], weights=c["bytes"], minlength=size).astype(np.float64)
        part = np.minimum(width, np.maximum(simulated_s - c["bin_s"], 1e-12))
        use = c["bytes"] / (capacity[c["link"]] * part) if len(part) else np.zeros(0)
        peak = np.zeros(size)
        np.maximum.at(peak, c["link"], use)
        mean = nbytes / (capacity * simulated_s) if simulated_s > 0 else np.zeros(size)
        return cls(
            tuple(str(link["name"]) for link in listed),
            tuple(str(link.get("kind", "")) for link in listed),
            capacity, nbytes, mean, peak, width, c["link"], c["bin_s"], use,
        )  # fmt: skip

    def busiest(self, count: int) -> Ints:
        """Numbers of the links with the highest mean utilisation that carried anything."""
        order = np.argsort(-self.mean, kind="stable")
        return np.asarray(order[self.nbytes[order] > 0][:count], dtype=np.int64)


def _bin_width(run: RunFolder, bin_s: Floats, simulated_s: float) -> float:
    """Width of the bins of `links`: as run.json says, else their smallest distance."""
    told = run.facts.get("link_bin_s")
    if told:
        return float(told)
    starts = np.unique(np.append(bin_s, 0.0))
    return float(np.diff(starts).min()) if len(starts) > 1 else simulated_s
