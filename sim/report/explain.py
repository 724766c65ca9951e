"""One request's life: what happened to it, when and where, and what its time went into."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from sim.errors import ScenarioError, suggest
from sim.measure.attribution import PARTS
from sim.measure.fleet import Fleet
from sim.measure.summary import IN_WORDS
from sim.record.log import Columns
from sim.record.run_folder import RunFolder
from sim.record.tables import CLOSED, REASONS, STAGES, STATES
from sim.units import human_bytes, human_seconds

SLOWEST = ("ttft", "tpot", "e2e")


@dataclass(frozen=True, slots=True)
class Life:
    """The rows of one request, as plain data."""

    request: dict[str, Any]
    """Its row of `requests`, with `state` and `reason` as words."""
    stays: tuple[dict[str, Any], ...]
    """Its rows of `intervals` in order of time, with `chunks` (token counts) and `engine_name`."""
    transfers: tuple[dict[str, Any], ...]
    parts: dict[str, dict[str, float]]
    """`ttft` and `e2e`: seconds by part; empty unless it finished."""


def explain(run: RunFolder, number: int) -> str:
    """The life of request `number` in words. Raises ScenarioError when there is none."""
    life = life_of(run, number)
    r = life.request
    lines = [
        f"Request {number}: prompt of {r['prompt_tokens']} tokens, "
        f"{r['generated_tokens']} of {r['output_tokens']} output tokens, {r['state']}"
        + (f" ({r['reason']})" if r["reason"] else "")
        + "."
    ]
    events = sorted(_events(life), key=lambda event: event[0])
    begin, width = events[0][0], max(len(f"{t:.6f}") for t, _ in events)
    since = [human_seconds(t - begin) for t, _ in events]
    lines += [
        f"  {t:{width}.6f} s  {'+' + after:>10}  {what}"
        for (t, what), after in zip(events, since, strict=True)
    ]
    for whole, name in (("ttft", "Time to first token"), ("e2e", "End to end")):
        if whole in life.parts:
            lines += ["", *_parts(name, life.parts[whole])]
    return "\n".join(lines)


def slowest_of(run: RunFolder, metric: str) -> int:
    """The request that took longest to its first token (`ttft`), to its end (`e2e`), or per token
    after the first (`tpot`). Raises ScenarioError for another metric, or when there is none."""
    if metric not in SLOWEST:
        raise ScenarioError(f"--slowest {metric} is not known{suggest(metric, SLOWEST)}")
    r = run.columns("requests")
    more = np.maximum(r["generated_tokens"] - 1, 1)
    seconds = {
        "ttft": r["first_token_s"] - r["arrival_s"],
        "e2e": r["end_s"] - r["arrival_s"],
        "tpot": (r["end_s"] - r["first_token_s"]) / more,
    }[metric]
    finished = r["state"] == STATES.index("finished")
    if metric == "tpot":
        finished = finished & (r["generated_tokens"] > 1)
    if not finished.any():
        raise ScenarioError(f"--slowest {metric}: no request of this run has one")
    return int(r["request"][np.where(finished, seconds, -np.inf).argmax()])


def life_of(run: RunFolder, number: int) -> Life:
    """The life of request `number` as data. Raises ScenarioError, with the range of numbers, when
    there is none."""
    count = run.rows("requests")
    if not 0 <= number < count:
        known = f"this run has requests 0 to {count - 1}" if count else "this run has no requests"
        raise ScenarioError(f"there is no request {number}; {known}")
    request = _rows(run.columns("requests"), number)[0]
    request["state"], request["reason"] = STATES[request["state"]], REASONS[request["reason"]]
    fleet = Fleet.read(run)
    stays = _rows(run.columns("intervals"), number)
    stays.sort(key=lambda s: (s["enter_s"], s["leave_s"]))
    chunks = [c["tokens"] for c in _rows(run.columns("chunks"), number)]
    for s in stays:
        s["stage"], s["closed"] = STAGES[s["stage"]], CLOSED[s["closed"]]
        s["engine_name"] = f"{fleet.name(s['engine'])} ({fleet.engines[s['engine']]['pool']})"
        s["chunks"] = _taken(chunks, s["tokens"]) if s["stage"] != "decode" else []
    transfers = _rows(run.columns("transfers"), number)
    transfers.sort(key=lambda t: float(t["asked_s"]))
    return Life(request, tuple(stays), tuple(transfers), _attributed(run, number))


def _rows(columns: Columns, number: int) -> list[dict[str, Any]]:
    """The rows of a table that are about a request."""
    at = np.flatnonzero(columns["request"] == number)
    return [{name: values[i].item() for name, values in columns.items()} for i in at]


def _taken(chunks: list[int], tokens: int) -> list[int]:
    """Take the chunks from the front that make up a stay's tokens."""
    taken: list[int] = []
    while chunks and sum(taken) < tokens:
        taken.append(chunks.pop(0))
    return taken


def _attributed(run: RunFolder, number: int) -> dict[str, dict[str, float]]:
    if not run.has("attribution.parquet"):
        return {}
    rows = _rows(run.columns("attribution"), number)
    return {w: {p: rows[0][f"{w}_{p}"] for p in PARTS} for w in ("ttft", "e2e")} if rows else {}


def _events(life: Life) -> list[tuple[float, str]]:
    """Times and sentences."""
    r = life.request
    events = [(float(r["arrival_s"]), "arrives")]
    for stay in life.stays:
        events += _stay(stay, first=stay is life.stays[0], request=r)
    for t in life.transfers:
        events += _transfer(t)
    if not np.isnan(r["first_token_s"]):
        ttft = r["first_token_s"] - r["arrival_s"]
        events.append((r["first_token_s"], f"first token is visible (TTFT {human_seconds(ttft)})"))
    end = f"{r['state']} after {human_seconds(r['end_s'] - r['arrival_s'])}"
    more = r["generated_tokens"] - 1
    if r["state"] == "finished" and more > 0:
        tpot = (r["end_s"] - r["first_token_s"]) / more
        end += f", {human_seconds(tpot)} per output token"
    return [*events, (r["end_s"], end)]


def _stay(stay: dict[str, Any], *, first: bool, request: dict[str, Any]) -> list[tuple[float, str]]:
    """What a stay has to tell: when it was entered, what was computed, why it ended."""
    where = f"engine {stay['engine_name']}, rank {stay['rank']}"
    events = [(stay["enter_s"], f"{stay['stage']}: enters {where}")]
    if first and not np.isnan(request["first_step_s"]):
        waited = human_seconds(request["first_step_s"] - request["arrival_s"])
        events.append((request["first_step_s"], f"first step begins, after waiting {waited}"))
    if stay["tokens"] == 0:
        return [*events, (stay["leave_s"], f"{stay['stage']}: {stay['closed']} without a step")]
    steps = f"slot {stay['slot']}, up to step {stay['last_step']}"
    if stay["stage"] == "decode":
        ran = stay["last_step"] - stay["first_step"] + 1
        verified = f"{ran} verify steps, " if ran < stay["tokens"] else ""
        did = f"{stay['tokens']} tokens generated in {verified}{steps}"
    else:
        cached = f", {stay['cached_tokens']} from cache" if stay["cached_tokens"] else ""
        chunks = f" in {len(stay['chunks'])} chunk(s)" if stay["chunks"] else ""
        did = f"{stay['tokens']} tokens computed{chunks}{cached}, {steps}"
    why = stay["closed"].replace("_", " ")
    return [*events, (stay["leave_s"], f"{stay['stage']}: {did}; {why}")]


def _transfer(t: dict[str, Any]) -> list[tuple[float, str]]:
    """What a handoff has to tell."""
    to = f"engine {t['src_engine']} to engine {t['dst_engine']}"
    events = [(t["asked_s"], f"handoff: asks for room, {human_bytes(t['bytes'])} from {to}")]
    if not np.isnan(t["reserved_s"]):
        events.append((t["reserved_s"], "handoff: blocks are reserved"))
    if not np.isnan(t["end_s"]):
        begin = max(t["start_s"], t["ready_s"])
        shared = t["end_s"] - begin - t["alone_s"]
        by_others = f" ({human_seconds(shared)} of it by sharing links)" if shared > 1e-9 else ""
        took = human_seconds(t["end_s"] - t["start_s"])
        events.append(
            (t["end_s"], f"handoff: last byte arrives, {took} after the first{by_others}")
        )
    return events


def _parts(name: str, parts: dict[str, float]) -> list[str]:
    """A small table of parts."""
    total = sum(parts.values())
    lines = [f"{name}: {1e3 * total:.3f} ms"]
    for part, spent in parts.items():
        if spent > 1e-9:
            share = 100.0 * spent / total if total else 0.0
            lines.append(f"  {1e3 * spent:12.3f} ms {share:5.1f} %  {IN_WORDS[part]}")
    return lines
