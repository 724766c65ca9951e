"""Columns of the `steps` table; those of drafts hold nothing where nobody speculates."""

from __future__ import annotations

import numpy as np

from sim.record.log import Columns
from sim.record.run_folder import RunFolder
from sim.record.tables import SPECULATIVE_STEPS, STEPS

OF_DRAFTS = frozenset(c.name for c in SPECULATIVE_STEPS.all_columns) - frozenset(
    c.name for c in STEPS.all_columns
)
"""Columns that only runs with speculation have."""


def speculates(run: RunFolder) -> bool:
    """Whether any engine of the run does."""
    return run.has_column("steps", "draft_s")


def step_rows(run: RunFolder, *names: str) -> Columns:
    """The columns named; zeros for those of drafts where nobody drafts."""
    absent = [] if speculates(run) else [n for n in names if n in OF_DRAFTS]
    rows = run.columns("steps", *(n for n in names if n not in absent))
    if absent:
        none = np.zeros(len(next(iter(rows.values()))))
        rows |= dict.fromkeys(absent, none)
    return {name: rows[name] for name in names}
