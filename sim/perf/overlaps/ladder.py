"""Ladder residual (arXiv 2501.06589): the all-reduce of a sublayer beside the next one's work.

Every sublayer takes the output of the one before the last. That is another architecture than the
model's own: its quality is assumed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from sim.errors import ScenarioError
from sim.perf.streams import Streams
from sim.settings import settings

if TYPE_CHECKING:
    from sim.perf.task import PriceTask

HIDDEN = 0.67
"""Mean of seven published points of Llama-3-70B on H100: 0.47, 0.56 (TP2, batch 1, 4), 0.86, 0.70,
0.67, 0.63 (TP4, batch 1, 4, 16, 64), 0.78 (TP8, batch 1); (T standard − T ladder) ÷ (T standard −
T without communication), plots of github.com/mayank31398/ladder-residual-inference."""


@settings
class Ladder:
    """All-reduces beside the next sublayer."""

    hidden: Annotated[float, Field(gt=0, le=1)] = HIDDEN
    """Share of an all-reduce that costs nothing, where the computation is longer."""

    def streams(self, task: PriceTask) -> Streams:
        """Both slow each other alike; the last of two all-reduces a layer has nothing beside it.
        Refused where there are no all-reduces, or other collectives."""
        spread = task.spread
        if spread.ranks > 1 or spread.rank_width == 1:
            has = "an all-to-all" if spread.ranks > 1 else "none"
            raise ScenarioError(
                f"overlap: ladder runs all-reduces beside the next sublayer, and the layout "
                f"{spread.text} has {has}; use the tensor layout with tp > 1, or another overlap"
            )
        slowed = 1.0 - self.hidden
        alone = 1.0 / (2 * len(task.model.layers))
        return Streams(frozenset({"collective"}), slowed, slowed, alone)

    def parts(self, task: PriceTask) -> int:
        """The whole batch at once."""
        return 1

    def assumptions(self, task: PriceTask) -> list[dict[str, str]]:
        """The share, and that the model was trained so."""
        source = "seven points of Llama-3-70B on H100, ladder-residual-inference: 0.47 to 0.86"
        given = "scenario" if self.hidden != HIDDEN else source
        other = "assumed: slowed by the computation as the computation is by them"
        quality = "assumed: trained or converted with ladder residuals, at equal quality"
        return [
            {"what": "all-reduce hidden by ladder", "value": str(self.hidden), "source": given},
            {"what": "all-reduces that outlast it", "value": str(self.hidden), "source": other},
            {"what": f"{task.model.name} with ladder residuals", "value": "", "source": quality},
        ]
