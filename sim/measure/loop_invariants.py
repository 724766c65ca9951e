"""What must hold at the end of every loop; the product checks it, not only its tests."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from sim.errors import BrokenInvariant
from sim.measure.ledger import Floats
from sim.measure.loop import STEP_PARTS, WAITS, Loop
from sim.record.log import Columns
from sim.record.tables import ACTORS, NONE, PHASES, SAMPLE_STATES

NANOSECOND = 1e-9
OWN_PHASES = ("prepare", "logprob", "reference", "train")
"""Phases that only the trainer has: their lengths are the columns of the step."""


def check_loop(loop: Loop) -> None:
    """Steps follow each other and are filled by their parts, phases of an actor do not overlap, and
    every sample that was begun ended in one way, in order of time. Raises BrokenInvariant."""
    _check_steps(loop)
    _check_phases(loop)
    _check_samples(loop)
    _check_books(loop)


def _check_steps(loop: Loop) -> None:
    c, slack = loop.steps, _slack(loop.steps["end_s"])
    _no_step(c, c["step"] != np.arange(len(loop)), "is out of order")
    _no_step(c, ~(loop.step_s >= 0), "ends before it starts")
    after = np.r_[loop.start_s, c["end_s"][:-1]] if len(loop) else c["start_s"]
    _no_step(c, ~(np.abs(c["start_s"] - after) <= slack), "does not begin where the last one ends")
    for name in (*STEP_PARTS, *WAITS, "generation_s"):
        _no_step(c, ~(c[name] >= -slack), f"has a negative {name}")
    filled = sum((c[name] for name in STEP_PARTS), np.zeros(len(loop)))
    _no_step(c, ~(np.abs(filled - loop.step_s) <= slack), "has parts that do not sum to its time")
    exposed = sum((c[name] for name in WAITS), np.zeros(len(loop)))
    _no_step(c, ~(exposed <= c["wait_s"] + slack), "is exposed for longer than the trainer waits")
    _no_step(c, c["staleness"] < -NANOSECOND, "trained on weights of the future")
    _no_step(c, c["staleness"] > c["staleness_max"] + 1e-6, "has a mean staleness above the most")


def _check_phases(loop: Loop) -> None:
    c = loop.phases
    _no_phase(c, ~(c["end_s"] >= c["start_s"]), "ends before it starts")
    order = np.lexsort((c["start_s"], c["actor"]))
    c = {name: values[order] for name, values in c.items()}
    same = c["actor"][1:] == c["actor"][:-1]
    over = c["start_s"][1:] < c["end_s"][:-1] - _slack(c["end_s"][1:])
    _no_phase(c, np.r_[False, same & over], "overlaps the one before")
    trainer = (c["actor"] == ACTORS.index("trainer")) & (c["step"] < len(loop))
    for phase in OWN_PHASES:
        mine = trainer & (c["phase"] == PHASES.index(phase))
        if not mine.any():
            continue
        length = np.bincount(c["step"][mine], (c["end_s"] - c["start_s"])[mine], len(loop))
        wrong = np.abs(length - loop.steps[f"{phase}_s"]) > _slack(loop.steps["end_s"])
        _no_step(loop.steps, wrong, f"has {phase} phases that are not its {phase}_s")


def _check_samples(loop: Loop) -> None:
    s, trained = loop.samples, loop.trained
    count = len(s["sample"])
    begun = loop.facts.get("generated")
    if begun is not None and begun != count:
        told = ", ".join(f"{n} {name}" for name, n in sample_counts(loop).items())
        raise BrokenInvariant(f"{begun} samples were begun but these were recorded: {told}")
    if (np.bincount(s["sample"], minlength=count) != 1).any():
        raise BrokenInvariant("samples are not numbered from 0 without holes")
    _no_sample(s, s["generated_s"] < s["submitted_s"], "has its last token before it was asked for")
    _no_sample(s, s["scored_s"] < s["generated_s"] - NANOSECOND, "is scored before its last token")
    for name in ("tools", "reward"):
        over = s[f"{name}_wait_s"] > s[f"{name}_s"] + _slack(np.nan_to_num(s["scored_s"]))
        _no_sample(s, over, f"stands in line for longer than its {name}_s")
    wrong = trained & ~((s["step"] >= 0) & (s["step"] < len(loop)))
    _no_sample(s, wrong, "was trained on in a step that is not there")
    _no_sample(s, ~trained & (s["step"] != NONE), "was not trained on and names a step")
    _no_sample(s, trained & (s["uses"] < 1), "was trained on and never used")
    epochs = loop.facts.get("epochs")
    if epochs is not None:
        _no_sample(s, s["uses"] > epochs, f"was used more often than in {epochs} epoch(s)")
    _no_sample(s, trained & ~(s["staleness"] >= -NANOSECOND), "has no staleness, or a negative one")
    _no_sample(s, s["last_version"] < s["first_version"], "ends under older weights than it began")
    if trained.any():
        end = loop.steps["end_s"][np.where(trained, s["step"], 0)]
        _no_sample(s, trained & ~(s["scored_s"] <= end + _slack(end)), "was trained on unscored")


def _check_books(loop: Loop) -> None:
    """The counts of the steps are those of the samples."""
    s, c, trained = loop.samples, loop.steps, loop.trained
    if len(loop) == 0:
        return
    last = np.bincount(s["step"][trained], minlength=len(loop))
    _no_step(c, last > c["samples"], "trained on fewer samples than name it")
    if (s["uses"] > 1).any():
        return  # a sample names only the last of its steps
    _no_step(c, last != c["samples"], "trained on more samples than name it")
    made = s["response_tokens"][trained].astype(np.float64)
    tokens = np.bincount(s["step"][trained], made, len(loop))
    _no_step(c, tokens != c["response_tokens"], "has other response tokens than its samples")
    lag = np.bincount(s["step"][trained], made * s["staleness"][trained], len(loop))
    off = np.abs(lag - c["staleness"] * tokens) > 1e-6 * np.maximum(tokens, 1.0)
    _no_step(c, (tokens > 0) & off, "has another staleness than its samples")
    names = ("samples", "filtered", "stale", "aborted")
    gone = np.cumsum(sum((c[name] for name in names), np.zeros(len(loop), dtype=np.int64)))
    begun = np.sort(s["submitted_s"])
    least = np.searchsorted(begun, c["end_s"] - _slack(c["end_s"]), side="left")
    most = np.searchsorted(begun, c["end_s"] + _slack(c["end_s"]), side="right")
    _no_step(c, gone + c["in_flight"] < least, "has lost samples")
    _no_step(c, gone + c["in_flight"] > most, "counts samples that were not begun")


def sample_counts(loop: Loop) -> dict[str, int]:
    """Samples by what became of them."""
    by_state = np.bincount(loop.samples["state"], minlength=len(SAMPLE_STATES))
    return dict(zip(SAMPLE_STATES, map(int, by_state), strict=True))


def _slack(times: Floats) -> Floats:
    """A nanosecond, or what the clock can tell apart at such times."""
    return np.asarray(np.maximum(NANOSECOND, 64.0 * np.spacing(times)))


def _row(c: Columns, at: NDArray[np.bool_]) -> tuple[int, dict[str, Any]]:
    i = int(np.argmax(at))
    return i, {name: values[i].item() for name, values in c.items()}


def _no_step(c: Columns, wrong: NDArray[np.bool_], what: str) -> None:
    if wrong.any():
        i, row = _row(c, wrong)
        raise BrokenInvariant(f"step {i} of the loop {what}: {row}")


def _no_phase(c: Columns, wrong: NDArray[np.bool_], what: str) -> None:
    if wrong.any():
        _, row = _row(c, wrong)
        name, actor = PHASES[row["phase"]], ACTORS[row["actor"]]
        raise BrokenInvariant(f"the {name} of the {actor} at {row['start_s']} s {what}: {row}")


def _no_sample(c: Columns, wrong: NDArray[np.bool_], what: str) -> None:
    if wrong.any():
        i, row = _row(c, wrong)
        raise BrokenInvariant(f"sample {c['sample'][i]} {what}: {row}")
