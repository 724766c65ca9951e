"""Measured mean acceptance lengths by draft length, as `[1.00, 1.92, 2.58, …]`: accepted drafts and
the token that the target adds, for 0, 1, 2, … drafts.

The chance that draft i is accepted at all is the i-th increment, L_i − L_(i−1); where noise makes
an increment larger than the one before it, or negative, the one before it (or 0) is taken."""

from __future__ import annotations

from typing import Annotated

import numpy as np
from pydantic import Field

from sim.perf.acceptances import Array
from sim.settings import settings


@settings
class Measured:
    """A curve of lengths."""

    lengths: Annotated[tuple[float, ...], Field(min_length=2)]
    """For draft lengths 0, 1, 2, …; the first is 1. Beyond the list the last chance holds."""

    def __post_init__(self) -> None:
        if self.lengths[0] != 1.0:
            raise ValueError(
                f"lengths begin with {self.lengths[0]:g}; write 1 first, for a step without drafts"
            )
        for drafts, length in enumerate(self.lengths):
            if not 1.0 <= length <= drafts + 1:
                raise ValueError(
                    f"length {length:g} for {drafts} drafts; write one from 1 to {drafts + 1}"
                )

    def rates(self, drafts: int) -> Array:
        """Ratios of successive increments."""
        kept = np.minimum.accumulate(np.clip(np.diff(self.lengths), 0.0, 1.0))
        before = np.concatenate([[1.0], kept[:-1]])
        known = np.divide(kept, before, out=np.zeros_like(kept), where=before > 0)
        where = np.minimum(np.arange(drafts), len(known) - 1)
        return np.asarray(known[where])

    def assumptions(self) -> list[dict[str, str]]:
        """None: all is given."""
        return []
