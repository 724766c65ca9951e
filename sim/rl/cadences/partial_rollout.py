"""Synchronous, with samples that go on over several steps: more prompts are in flight than are
trained on, generation stops when enough groups are ready, and the unfinished go on under the next
weights from the token that they had reached (partial rollouts of Kimi k1.5, arXiv 2501.12599;
APRIL, arXiv 2509.18521). No token is thrown away, and those of one sample are of several versions.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from sim.rl.cadences import Steps
from sim.settings import settings

if TYPE_CHECKING:
    from sim.rl.loop import Loop


@settings
class PartialRollout:
    """Stop when there is enough; go on later."""

    factor: Annotated[float, Field(ge=1, le=100)] = 2.0
    """Prompts in flight when generation begins over prompts trained on. assumed: twice as many;
    APRIL leaves it to the user."""
    kv: Literal["recompute", "keep"] = "recompute"
    """Whether the unfinished are computed again under the new weights, or go on with the KV cache
    that the old ones made."""

    def check(self, colocated: bool, pulls: bool) -> None:
        """A colocated trainer needs the memory of the KV cache."""
        if colocated and self.kv == "keep":
            raise ValueError(
                "partial_rollout.kv keep leaves no memory to a trainer on the same GPUs; write "
                "kv: recompute, or trainer.placement: apart"
            )

    def play(self, loop: Loop) -> Steps:
        """Fill up, wait for enough, stop, train, go on. The last step is like any other: what it
        leaves unfinished is in flight when the loop ends."""
        wanted = loop.prompts_per_step
        most = math.ceil(self.factor * wanted)
        for _ in range(loop.steps):
            loop.submit(max(0, most - loop.open_groups - len(loop.ready)))
            yield from loop.wait_for(wanted)
            yield from loop.hold()
            groups = loop.take(wanted, oldest_first=True)
            yield from loop.train(groups)
            yield from loop.sync(keep_kv=self.kv == "keep")
            loop.close_step(groups)

    def assumptions(self) -> list[dict[str, str]]:
        """None."""
        return []
