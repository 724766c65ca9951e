"""The shared expert beside dispatch and combine: it needs no token of another device.

SGLang and vLLM run it on a second stream.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from sim.catalog.model import MoeFfn
from sim.errors import ScenarioError
from sim.perf.overlaps.dual_batches import SOURCE, compute_speed, network_speed
from sim.perf.streams import Beside
from sim.settings import settings

if TYPE_CHECKING:
    from sim.perf.task import PriceTask

Share = Annotated[float, Field(gt=0, le=1)]


@settings
class SharedExpert:
    """The shared expert's products beside the exchange with the routed ones."""

    network_speed: Share = network_speed()
    """Of the exchange, while beside products; of one."""
    compute_speed: Share = compute_speed()
    """Of the products, while beside the exchange; of one."""

    def streams(self, task: PriceTask) -> Beside:
        """Refused without shared experts, or without an exchange."""
        ffns = (layer.ffn for layer in task.model.layer_counts)
        if not any(isinstance(f, MoeFfn) and f.shared_width for f in ffns):
            raise ScenarioError(
                f"overlap: shared_expert has no effect, {task.model.name} has no shared experts; "
                "leave it out"
            )
        if task.spread.ranks == 1:
            raise ScenarioError(
                f"overlap: shared_expert runs beside the exchange with other ranks' experts and "
                f"the layout {task.spread.text} has none; use dp_attention or leave it out"
            )
        first, second = self.compute_speed, self.network_speed
        return Beside((1.0 - second) / first, (1.0 - first) / second)

    def parts(self, task: PriceTask) -> int:
        """The whole batch at once."""
        return 1

    def assumptions(self, task: PriceTask) -> list[dict[str, str]]:
        """The interference, measured for whole micro-batches."""
        same = self == SharedExpert()
        source = f"assumed: as between micro-batches; {SOURCE}" if same else "scenario"
        value = f"{self.network_speed:.3g}, {self.compute_speed:.3g}"
        what = "shared expert beside its exchange: speed of the exchange, of products"
        return [{"what": what, "value": value, "source": source}]
