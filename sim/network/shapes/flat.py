"""Flat: all devices of the cluster on one ideal switch. The baseline, and the smallest machine."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from sim.catalog.gpu import Gpu
from sim.network.plan import NVSWITCH, Plan, Port
from sim.settings import settings
from sim.units import BytesPerS, PositiveInt, Seconds


@settings
class Flat:
    """`gpus` devices per node, every one with a link to the one switch; no NICs."""

    gpus: PositiveInt = 1
    """Devices per node."""
    bytes_per_s: Annotated[BytesPerS, Field(gt=0.0)] | None = None
    """Of a device's link, one direction; as the GPU's scale-up bandwidth when left out."""
    latency_s: Annotated[Seconds, Field(ge=0.0)] = 0.0
    """Of a device's link; two make a route. Ideal when left out."""

    def reads(self) -> tuple[str, ...]:
        return ("scale_up_bytes_per_s",) if self.bytes_per_s is None else ()

    def build(self, plan: Plan, gpu: Gpu) -> None:
        """One node: its devices join the switch that all flat nodes share."""
        if "switch" not in plan.graph:
            plan.add("switch", "nvswitch", 0.0, NVSWITCH)
        node, rack = plan.place_node(1)
        speed = gpu.scale_up_bytes_per_s if self.bytes_per_s is None else self.bytes_per_s
        for i in range(self.gpus):
            device = plan.add_device(f"node{node}.gpu{i}", gpu.name, node, rack, i)
            up, down = plan.wire(device.name, "switch", "nvlink", speed, self.latency_s)
            plan.ports.append(Port("switch", up, down))
