"""The two figures of `acceptances/decay.py` from measured acceptance lengths."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from scipy.optimize import least_squares

from sim.errors import ScenarioError
from sim.perf.acceptances.decay import Decay
from sim.perf.speculation.acceptance import acceptance_length, survival

START = (0.8, 0.95)
LEAST = 1e-6


def fit_decay(lengths: Mapping[int, float]) -> Decay:
    """Least squares of the logarithms of mean lengths; `lengths` by draft length, at least two.

    Raises ScenarioError for fewer than two, or a length that no acceptance can give.
    """
    known = {k: v for k, v in lengths.items() if k > 0}
    if len(known) < 2:
        raise ScenarioError(
            f"{len(known)} acceptance lengths are given and a fit needs two; give more draft "
            "lengths, or write iid"
        )
    for drafts, length in known.items():
        if not 1.0 <= length <= drafts + 1:
            raise ScenarioError(
                f"an acceptance length of {length:g} with {drafts} drafts is impossible; give one "
                f"from 1 to {drafts + 1}"
            )

    def error(x: np.ndarray) -> list[float]:
        law = Decay(first=float(x[0]), decay=float(x[1]))
        return [
            float(np.log(acceptance_length(survival(law, k)) / length))
            for k, length in known.items()
        ]

    found = least_squares(error, START, bounds=(LEAST, 1.0))
    return Decay(first=float(found.x[0]), decay=float(found.x[1]))
