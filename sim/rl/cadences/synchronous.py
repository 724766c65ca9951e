"""Generate, train, and again: every sample is made by the very policy that is trained on it.

With a colocated trainer the same GPUs take turns and weights are resharded between the two layouts
(HybridFlow, arXiv 2409.19256); with one apart the rollout GPUs idle while it trains, and it while
they generate.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sim.rl.cadences import Steps
from sim.settings import settings

if TYPE_CHECKING:
    from sim.rl.loop import Loop


@settings
class Synchronous:
    """One after the other."""

    def check(self, colocated: bool, pulls: bool) -> None:
        """Any placement."""

    def play(self, loop: Loop) -> Steps:
        """A batch of prompts, all their samples, one step."""
        for _ in range(loop.steps):
            loop.submit(loop.prompts_per_step)
            yield from loop.wait_for(loop.prompts_per_step)
            groups = loop.take(loop.prompts_per_step)
            yield from loop.train(groups)
            yield from loop.sync()
            loop.close_step(groups)

    def assumptions(self) -> list[dict[str, str]]:
        """None."""
        return []
