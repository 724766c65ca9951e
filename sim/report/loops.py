"""What the figures of a reinforcement-learning loop share."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np

from sim.measure.ledger import Floats, Ints
from sim.measure.loop import IN_FLIGHT, Loop
from sim.record.tables import ACTORS, PHASES
from sim.report.style import GRID

SECTION = "Reinforcement learning"

MOST_STEPS = 160
"""Bars or points along an axis of steps; more steps are drawn as means of neighbours."""

MOST_LINES = 60
"""Ends of steps that are drawn as lines."""


class Grouped:
    """Neighbouring steps put together so that they can be drawn."""

    most: ClassVar[int] = MOST_STEPS

    def __init__(self, loop: Loop) -> None:
        self.size = -(-len(loop) // self.most) if len(loop) else 1
        self.heads: Ints = np.arange(0, len(loop), self.size)
        self.counts: Ints = np.diff(np.r_[self.heads, len(loop)])

    def mean(self, values: Any) -> Floats:
        """Mean of a column over each group; NaNs are left out."""
        known = ~np.isnan(np.asarray(values, dtype=np.float64))
        total = np.add.reduceat(np.where(known, values, 0.0), self.heads)
        count = np.add.reduceat(known.astype(np.float64), self.heads)
        return np.asarray(np.divide(total, count, out=np.full(len(total), np.nan), where=count > 0))

    def most_of(self, values: Any) -> Floats:
        """Largest of each group."""
        return np.asarray(np.maximum.reduceat(np.asarray(values, dtype=np.float64), self.heads))

    @property
    def axis(self) -> str:
        """Title of the axis of steps."""
        return "step (number)" if self.size == 1 else f"step (number, means of {self.size})"


def mark_steps(figure: Any, loop: Loop) -> None:
    """A thin line at the end of each step, where there are not too many."""
    if len(loop) > MOST_LINES:
        return
    line = {"color": GRID, "width": 1.2, "dash": "dot"}
    figure.update_layout(
        shapes=[
            {"type": "line", "x0": t, "x1": t, "y0": 0, "y1": 1, "xref": "x", "yref": "paper",
             "line": line, "layer": "below"} for t in loop.steps["end_s"].tolist()
        ]
    )  # fmt: skip


def name_of(code: str) -> str:
    """A label of the tables in words."""
    return {"logprob": "log-probabilities", "reference": "reference", "sync": "weight sync",
            "train": "training", "wait": "waiting"}.get(code, code.replace("_", " "))  # fmt: skip


def last_moment(loop: Loop) -> float:
    """End of the last step, or the last submission when that is later."""
    submitted = loop.samples["submitted_s"]
    return max(loop.end_s, float(submitted.max()) if len(submitted) else 0.0)


def levels_of(loop: Loop, times: Floats) -> list[tuple[Ints, str, str]]:
    """How many samples are generated, scored and buffered at each time. Of those that were dropped
    it is not known when; they count until they were scored, or had their last token."""
    s, left = loop.samples, loop.samples["state"] == IN_FLIGHT
    late = left & ~(s["generated_s"] < last_moment(loop))  # the end of the run, not of the sample
    made = np.where(late, np.inf, np.fmax(s["generated_s"], s["submitted_s"]))
    unscored = np.where(left, np.inf, made)
    scored = np.where(np.isnan(s["scored_s"]), unscored, s["scored_s"])
    taken = np.where(left, np.inf, scored)
    if loop.trained.any():
        taken = np.where(loop.trained, _taken(loop)[s["step"]], taken)
    begun, made, scored, taken = (
        np.searchsorted(np.sort(x), times, side="right")
        for x in (s["submitted_s"], made, scored, np.maximum(taken, scored))
    )
    return [
        (np.asarray(scored - taken), "buffered", "train"),
        (np.asarray(made - scored), "being scored", "reward"),
        (np.asarray(begun - made), "being generated", "generation"),
    ]


def _taken(loop: Loop) -> Floats:
    """When each step's trainer began to work: the end of its last waiting."""
    c = loop.phases
    wait = (c["actor"] == ACTORS.index("trainer")) & (c["phase"] == PHASES.index("wait"))
    wait &= c["step"] < len(loop)
    begun = loop.steps["start_s"].copy()
    np.maximum.at(begun, c["step"][wait], c["end_s"][wait])
    return np.asarray(begun)
