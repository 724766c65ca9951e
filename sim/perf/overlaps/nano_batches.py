"""NanoFlow (arXiv 2408.12757): products, attention and collectives side by side on one GPU, of
different nano-batches of a step.

Each takes a share R of the GPU (what the products lose) and runs at P of its own speed; the weights
are read once per nano-batch. A step that does not gain by it runs whole.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from sim.perf.streams import Lanes
from sim.settings import settings

if TYPE_CHECKING:
    from sim.perf.task import PriceTask

Share = Annotated[float, Field(gt=0, lt=1)]


@settings
class NanoBatches:
    """`batches` nano-batches in three lanes."""

    batches: Annotated[int, Field(ge=2, le=8)] = 2
    """Nano-batches (NanoFlow: two to four)."""
    attention_share: Share = 0.4
    """R of attention."""
    attention_speed: Share = 0.8
    """P of attention at that R."""
    network_share: Share = 0.2
    """R of collectives."""
    network_speed: Share = 0.5
    """P of collectives at that R."""

    def streams(self, task: PriceTask) -> Lanes:
        """Products, attention and collectives. A kind of work of T seconds that takes R and runs at
        P lasts T/P, in which the products lose R: they gain T · R/P; beside products it loses
        1 − P for each of their seconds at 1 − R."""
        shares = (None, self.attention_share, self.network_share)
        speeds = (1.0, self.attention_speed, self.network_speed)
        delay = []
        for j, share in enumerate(shares):
            row = [0.0, 0.0, 0.0]
            for i in (0, 1, 2):
                if i == j:
                    continue
                if i == 0:
                    row[i] = (share or 0.0) / speeds[j]
                else:
                    pace = speeds[j] if share is not None else 1.0 - (shares[i] or 0.0)
                    row[i] = (1.0 - speeds[i]) / pace
            delay.append((row[0], row[1], row[2]))
        lanes = ({"linear", "experts"}, {"attention"}, {"collective"})
        return Lanes(tuple(frozenset(x) for x in lanes), tuple(delay))

    def parts(self, task: PriceTask) -> int:
        """The nano-batches."""
        return self.batches

    def assumptions(self, task: PriceTask) -> list[dict[str, str]]:
        """R and P."""
        attention = "NanoFlow (arXiv 2408.12757), section 4.1: R 0.4 gives 80 % of attention alone"
        network = "assumed: NanoFlow profiles it, its figures are not at hand"
        own = NanoBatches()
        first = (self.attention_share, self.attention_speed)
        second = (self.network_share, self.network_speed)
        defaults = (own.attention_share, own.attention_speed)
        return [
            {
                "what": "attention beside products, R and P",
                "value": f"{first[0]}, {first[1]}",
                "source": attention if first == defaults else "scenario",
            },
            {
                "what": "collectives beside products, R and P",
                "value": f"{second[0]}, {second[1]}",
                "source": network
                if second == (own.network_share, own.network_speed)
                else "scenario",
            },
            {
                "what": "three lanes of nano-batches",
                "value": "delays add up",
                "source": "assumed: NanoFlow profiles pairs of kernels",
            },
        ]
