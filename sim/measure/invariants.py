"""What must hold at the end of every run; the product checks it, not only its tests."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from sim.errors import BrokenInvariant
from sim.measure.latency import FINISHED, Requests
from sim.measure.step_rows import step_rows
from sim.record.run_folder import RunFolder
from sim.record.tables import STATES

SECONDS = (
    "linear_s", "attention_s", "experts_s", "collective_s", "host_s", "rank_wait_s", "pipeline_s",
    "contention_s", "draft_s",
)  # fmt: skip
"""Columns of `steps` that make the duration of a row."""


def check_requests(requests: Requests, arrived: int | None = None) -> None:
    """Every request that arrived ended in one way, in order of time, with all of its tokens.

    `arrived` is how many the source handed out, where that is known. Raises BrokenInvariant.
    """
    counts = np.bincount(requests["state"], minlength=len(STATES))
    if arrived is not None and int(counts.sum()) != arrived:
        told = ", ".join(f"{n} {s}" for n, s in zip(counts, STATES, strict=True))
        raise BrokenInvariant(f"{arrived} requests arrived but these were recorded: {told}")
    _in_order(requests, "arrival_s", "first_step_s")
    _in_order(requests, "first_step_s", "first_token_s")
    _in_order(requests, "first_token_s", "end_s")
    _in_order(requests, "arrival_s", "end_s")
    finished = requests["state"] == FINISHED
    short = finished & (requests["generated_tokens"] != requests["output_tokens"])
    _none(requests, short, "finished without exactly its output tokens")
    _none(requests, finished & np.isnan(requests["first_token_s"]), "finished without a token")
    over = requests["generated_tokens"] > requests["output_tokens"]
    _none(requests, over, "got more tokens than its output")


def check_steps(run: RunFolder) -> None:
    """No step is shorter than nothing, and the seconds of each row sum to its duration.

    Raises BrokenInvariant.
    """
    c = step_rows(run, "engine", "slot", "start_s", "end_s", "n", *SECONDS)
    duration = c["end_s"] - c["start_s"]
    total = sum((c[name] for name in SECONDS), np.zeros(len(duration)))
    slack = np.maximum(1e-9, np.spacing(c["end_s"]) * (64 + c["n"]))
    _no_row(c, duration < 0, "ends before it starts")
    for name in SECONDS:
        _no_row(c, c[name] < -slack, f"has a negative {name}")
    _no_row(c, ~(np.abs(total - duration) <= slack), "has seconds that do not sum to its duration")


def _in_order(requests: Requests, earlier: str, later: str) -> None:
    before, after = requests[earlier], requests[later]
    _none(requests, after < before, f"has {later} before {earlier}")


def _none(requests: Requests, wrong: NDArray[np.bool_], what: str) -> None:
    if wrong.any():
        i = int(np.argmax(wrong))
        row = {name: values[i].item() for name, values in requests.columns.items()}
        raise BrokenInvariant(f"request {i} {what}: {row}")


def _no_row(c: dict[str, NDArray[Any]], wrong: NDArray[np.bool_], what: str) -> None:
    if wrong.any():
        i = int(np.argmax(wrong))
        row = {name: values[i].item() for name, values in c.items()}
        raise BrokenInvariant(
            f"the step of engine {row['engine']} at {row['start_s']} s {what}: {row}"
        )
