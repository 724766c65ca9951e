"""Separate pools, one batch ahead: while the trainer works on a batch the engines make the next one
with the weights before it; new weights are loaded when both are done (veRL's one-step-off policy).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sim.rl.cadences import Steps
from sim.settings import settings

if TYPE_CHECKING:
    from sim.rl.loop import Loop


@settings
class OneStepOff:
    """Generation of the next batch beside training on this one."""

    def check(self, colocated: bool, pulls: bool) -> None:
        """Both work at once, so each needs its own GPUs."""
        if colocated:
            raise ValueError(
                "one_step_off generates while it trains, and trainer.placement is colocated; write "
                "placement: apart, or cadence: synchronous"
            )

    def play(self, loop: Loop) -> Steps:
        """A batch in hand, a batch in the making."""
        wanted = loop.prompts_per_step
        loop.submit(wanted)
        yield from loop.wait_for(wanted)
        groups = loop.take(wanted)
        for step in range(loop.steps):
            last = step + 1 == loop.steps
            if not last:
                loop.submit(wanted)
            yield from loop.train(groups)
            if not last:
                yield from loop.wait_for(wanted)
            yield from loop.sync()
            loop.close_step(groups)
            groups = [] if last else loop.take(wanted)

    def assumptions(self) -> list[dict[str, str]]:
        """None."""
        return []
