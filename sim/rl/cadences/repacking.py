"""Every engine at its own pace (Laminar, arXiv 2510.12633).

An engine takes a batch of prompts of its own, makes it to the end with one version of the weights,
pulls the newest from the relay beside it, and takes the next batch. Long answers would leave
engines nearly empty: every few seconds those that are running dry hand what they still have to
others of the same version, and are free for a new batch with new weights.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from sim.perf.training.asynchrony import admissible
from sim.rl.cadences import Steps
from sim.rl.replicas import Replicas
from sim.settings import settings
from sim.units import NonNegativeInt, PositiveInt, Seconds

if TYPE_CHECKING:
    from sim.rl.loop import Loop


@settings
class Repacking:
    """Engines by themselves, merged when they run dry."""

    every_s: Annotated[Seconds, Field(ge=0.01)] = 5.0
    """Seconds between two looks at the engines: Laminar's."""
    full: Annotated[float, Field(gt=0, le=1)] = 0.95
    """Share of its KV pool up to which an engine is filled by others. assumed: a little below all
    of it, so that what is moved together still has room to grow."""
    kv: Literal["recompute", "send"] = "recompute"
    """Whether those that are moved are computed again, or take their KV along over the fabric."""
    prompts_per_engine: PositiveInt | None = None
    """Prompts of an engine's batch; a step's prompts divided by the engines, rounded up, when left
    out."""
    staleness: NonNegativeInt = 4
    """Versions that a prompt may be ahead of the trainer when it is begun; Laminar saw 4 at most.
    """

    def check(self, colocated: bool, pulls: bool) -> None:
        """Engines take weights when they like."""
        if colocated:
            raise ValueError(
                "repacking generates while it trains, and trainer.placement is colocated; write "
                "placement: apart, or another cadence"
            )
        if not pulls:
            raise ValueError(
                "repacking lets every engine take new weights by itself; write weight_sync: "
                "{by: relay, pull: true}"
            )

    def play(self, loop: Loop) -> Steps:
        """The trainer's side; engines begin whenever they are empty."""
        wanted, engines = loop.prompts_per_step, loop.updates.engines
        replicas = Replicas(
            loop=loop,
            batch=self.prompts_per_engine or -(-wanted // len(engines)),
            room=lambda: self._room(loop),
            full=self.full,
            every_s=self.every_s,
            send_kv=self.kv == "send",
        )
        replicas.open()
        for _ in range(loop.steps):
            yield from loop.wait_for(wanted, replace=False)
            groups = loop.take(wanted, oldest_first=True)
            yield from loop.train(groups)
            yield from loop.publish()
            loop.close_step(groups)
            replicas.begin_idle()

    def _room(self, loop: Loop) -> int:
        """Prompts that may be begun now: as many as the rule admits and the loop still needs."""
        wanted, begun = loop.prompts_per_step, loop.submitted - loop.dropped
        most = admissible(loop.version, wanted, self.staleness, begun)
        return min(most, loop.steps * wanted - begun)

    def assumptions(self) -> list[dict[str, str]]:
        """How full engines may get."""
        why = "assumed: a little below all, so that what is moved has room to grow"
        return [{"what": "repacked engines' KV use", "value": f"{self.full:g}", "source": why}]
