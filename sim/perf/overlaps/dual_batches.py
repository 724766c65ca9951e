"""Two micro-batches in turns: the collectives of one beside the computation of the other.

DeepSeek-V3's report, section 3.4, SGLang's two-batch overlap, xLLM's dual streams. Both slow each
other, and the weights are read twice. A step that does not gain by it runs whole.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from sim.errors import ScenarioError
from sim.perf.streams import Streams
from sim.settings import settings

if TYPE_CHECKING:
    from sim.perf.task import PriceTask

ALONE_S, BESIDE_S, EXPOSED_S, ADDED_S = 9.3e-3, 12.4e-3, 2.5e-3, 4.0e-3
"""Of a layer of a DeepSeek-class model in xLLM's report (arXiv 2510.14686): collectives alone,
beside computation, the part of them that stays exposed, and what the computation loses."""
SOURCE = (
    "xLLM report: collectives of a layer 9.3 ms alone, 12.4 ms beside computation, 2.5 ms of it "
    "exposed, computation + 4 ms"
)


def network_speed() -> float:
    """Share of their speed at which hidden collectives proceed."""
    return (ALONE_S - EXPOSED_S) / (BESIDE_S - EXPOSED_S)


def compute_speed() -> float:
    """Share of its speed at which computation proceeds meanwhile."""
    return 1.0 - ADDED_S / (BESIDE_S - EXPOSED_S)


Share = Annotated[float, Field(gt=0, le=1)]


@settings
class DualBatches:
    """Collectives of one micro-batch beside the computation of the other."""

    network_speed: Share = network_speed()
    """Of collectives, while beside computation; of one."""
    compute_speed: Share = compute_speed()
    """Of computation, while beside collectives; of one."""
    exposed: Annotated[float, Field(ge=0, le=1)] = EXPOSED_S / ALONE_S
    """Share of the collectives that nothing hides."""

    def streams(self, task: PriceTask) -> Streams:
        """Collectives, and everything else. Refused where there are none."""
        if task.spread.stage_devices == 1:
            raise ScenarioError(
                f"overlap: dual_batches runs collectives beside computation and the layout "
                f"{task.spread.text} has none; leave it out"
            )
        second = frozenset({"collective"})
        return Streams.speeds(second, self.compute_speed, self.network_speed, self.exposed)

    def parts(self, task: PriceTask) -> int:
        """Two."""
        return 2

    def assumptions(self, task: PriceTask) -> list[dict[str, str]]:
        """The interference."""
        source = SOURCE if self == DualBatches() else "scenario"
        value = f"{self.network_speed:.3g}, {self.compute_speed:.3g}, {self.exposed:.3g}"
        what = "two micro-batches: speed of collectives, of computation, share exposed"
        return [{"what": what, "value": value, "source": source}]
