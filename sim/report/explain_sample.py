"""One sample's life in a reinforcement-learning loop, in words."""

from __future__ import annotations

from math import isnan
from typing import Any

import numpy as np

from sim.errors import ScenarioError
from sim.record.run_folder import RunFolder
from sim.record.tables import NONE, SAMPLE_STATES
from sim.units import human_seconds

FATES = {
    "filtered": "filtered: its group had nothing to teach",
    "stale": "dropped: older than the loop's staleness allows",
    "aborted": "aborted: the loop gave it up",
    "in_flight": "still on its way when the run ended",
}

WORTH_TELLING_S = 1e-9
"""Shorter waiting is rounding."""


def sample_of(run: RunFolder, number: int) -> dict[str, Any]:
    """The row of a sample, with `state` as a word, and `trained_by`: the row of the step that
    (last) trained on it, or None. Raises ScenarioError when there is no such sample."""
    count = run.rows("samples")
    if not 0 <= number < count:
        known = f"this run has samples 0 to {count - 1}" if count else "this run has no samples"
        raise ScenarioError(f"there is no sample {number}; {known}")
    row = _row(run, "samples", "sample", number)
    row["state"] = SAMPLE_STATES[row["state"]]
    row["trained_by"] = None
    if row["step"] != NONE:
        row["trained_by"] = _row(run, "rl_steps", "step", row["step"])
    return row


def explain_sample(run: RunFolder, number: int) -> str:
    """The life of sample `number` in words. Raises ScenarioError when there is none."""
    s = sample_of(run, number)
    lines = [
        f"Sample {number}: answer {s['index']} to prompt {s['prompt']}, prompt of "
        f"{s['prompt_tokens']} tokens, response of {s['response_tokens']} tokens"
        + (f" in {s['turns']} turns" if s["turns"] > 1 else "")
        + f", {s['state'].replace('_', ' ')}."
    ]
    events, begin = _events(s), s["submitted_s"]
    width = max(len(f"{t:.6f}") for t, _ in events)
    lines += [
        f"  {t:{width}.6f} s  {'+' + human_seconds(t - begin):>10}  {what}" for t, what in events
    ]
    if s["state"] != "trained":
        lines.append(f"  {FATES[s['state']]}")
    if s["request"] != NONE:
        last = "the request" if s["turns"] <= 1 else "its last request"
        lines += ["", f"In the engines: sim explain {run.path} --request {s['request']} ({last})"]
    return "\n".join(lines)


def _events(s: dict[str, Any]) -> list[tuple[float, str]]:
    """Times and sentences, in order."""
    events = [(s["submitted_s"], f"asked for under policy version {s['first_version']}")]
    if not isnan(s["generated_s"]):
        events.append((s["generated_s"], f"last token{_on_the_way(s)}"))
    if not isnan(s["scored_s"]):
        took = f" after {_in_line(s, 'reward', 'scoring')}" if s["reward_s"] > 0 else ""
        events.append((s["scored_s"], f"reward is known{took}"))
    step = s["trained_by"]
    if step is not None:
        uses = f", {s['uses']} times" if s["uses"] > 1 else ""
        age = f"mean staleness {s['staleness']:.3g}, oldest token {s['staleness_max']}"
        made = f"step {step['step']} has trained on it{uses}, making version {step['version'] + 1}"
        events.append((step["end_s"], f"{made} ({age})"))
    return events


def _on_the_way(s: dict[str, Any]) -> str:
    """What happened while it was generated."""
    said = []
    if s["last_version"] != s["first_version"]:
        said.append(f"now under version {s['last_version']}")
    if s["interruptions"]:
        said.append(f"interrupted {s['interruptions']} time(s)")
    if s["tools_s"] > 0:
        said.append(_in_line(s, "tools", "tools at work"))
    return f" ({', '.join(said)})" if said else ""


def _in_line(s: dict[str, Any], who: str, doing: str) -> str:
    """The time with tools or scorers: in line for them, and what they took."""
    waited, whole = s[f"{who}_wait_s"], s[f"{who}_s"]
    worked = f"{human_seconds(max(whole - waited, 0.0))} of {doing}"
    if waited < WORTH_TELLING_S:
        return worked
    return f"{human_seconds(waited)} of waiting in line and {worked}"


def _row(run: RunFolder, table: str, key: str, number: int) -> dict[str, Any]:
    """The row of a table whose key is `number`."""
    columns = run.columns(table)
    at = int(np.argmax(columns[key] == number))
    return {name: values[at].item() for name, values in columns.items()}
