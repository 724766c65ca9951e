"""Synchronous, with more prompts begun than are trained on: the groups that are ready first make
the batch, the others are given up, so that nobody waits for the longest answers. Long answers are
under-represented in what is trained on.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from sim.rl.cadences import Steps
from sim.settings import settings

if TYPE_CHECKING:
    from sim.rl.loop import Loop


@settings
class OverSampling:
    """The first come are trained on."""

    factor: Annotated[float, Field(gt=1, le=100)] = 1.25
    """Prompts begun over prompts trained on. assumed: as tail packing's short rounds
    (RollPacker, arXiv 2509.21009)."""

    def check(self, colocated: bool, pulls: bool) -> None:
        """Any placement."""

    def play(self, loop: Loop) -> Steps:
        """More prompts than are wanted; the first that are ready; the others end."""
        wanted = loop.prompts_per_step
        for _ in range(loop.steps):
            loop.submit(math.ceil(self.factor * wanted))
            yield from loop.wait_for(wanted)
            groups = loop.take(wanted)
            taken = set(groups)
            loop.abandon([g for g in loop.live if g not in taken])
            yield from loop.drained()
            yield from loop.train(groups)
            yield from loop.sync()
            loop.close_step(groups)

    def assumptions(self) -> list[dict[str, str]]:
        """None."""
        return []
