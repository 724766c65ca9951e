"""Which passes of a long schedule are priced; what the others take lies on lines between them.

From one pass in which somebody joins, ends or prefills to the next, contexts grow by the same
tokens every pass, and the price of a decode step is piecewise linear in them
(`sim.perf.price_list`). A line between priced passes is off only where it spans a kink (a floor, a
window), by less than what `STRIDE` tokens of context cost.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sim.errors import ScenarioError
from sim.perf.price_list import Array
from sim.search.schedule import TOO_LONG, Ints

WHOLE = 2**18
"""Passes × ranks up to which every pass is priced."""
MOST = 2**22
"""Passes × ranks that are priced at most: about 2 GB of columns."""
STRIDE = 64
"""Passes from one that is priced to the next, where nobody joins or ends."""

Columns = dict[str, NDArray[Any]]


def priced_passes(busy: Sequence[Columns], ranks: int, slots: int) -> Ints:
    """Numbers of the passes that are priced, rising, the first and the last among them; `busy` are
    the columns of ranks with something to do. In a pipeline, whose slots take turns, all are."""
    passes = min(len(r["decodes"]) for r in busy)
    kept = np.ones(passes, dtype=bool)
    if passes * ranks > WHOLE and slots == 1:
        kept = np.arange(passes) % STRIDE == 0
        kept[-1] = True
        for r in busy:
            prompts = r["prefills"][:passes] > 0
            differs = np.diff(r["decodes"][:passes], prepend=-1) != 0
            differs |= prompts
            differs[1:] |= prompts[:-1]
            kept |= differs
            kept[:-1] |= differs[1:]
    found = np.flatnonzero(kept)
    if len(found) * ranks > MOST:
        raise ScenarioError(TOO_LONG)
    return found


def at_all(kept: Ints, values: Array) -> Array:
    """Values of the priced passes as values of all."""
    passes = int(kept[-1]) + 1
    return values if len(kept) == passes else np.interp(np.arange(passes), kept, values)


def handed_over(kept: Ints, weights: Array) -> Array:
    """Weights of all passes, handed to the priced ones on both sides: Σ weight · value of all
    passes is then that of the priced ones."""
    if len(kept) == len(weights):
        return weights
    number = np.arange(len(weights))
    left = np.minimum(np.searchsorted(kept, number, "right") - 1, len(kept) - 2)
    share = (number - kept[left]) / (kept[left + 1] - kept[left])
    out: Array = np.bincount(left, weights * (1.0 - share), len(kept)).astype(np.float64)
    return out + np.bincount(left + 1, weights * share, len(kept))
