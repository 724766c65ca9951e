"""NVL72: a rack that is one scale-up domain, trays of four GPUs, a NIC per GPU."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from sim.catalog.gpu import Gpu
from sim.network.plan import NVSWITCH, PCIE, Plan, Wires
from sim.settings import settings
from sim.units import BytesPerS, PositiveInt, Seconds


@settings
class Nvl72:
    """GB200 and GB300 NVL72. One `node` of the topology file is one rack; a device's `node` is its
    tray, its `rail` its place in the tray.

    The rack's switch trays are one non-blocking switch, and all NVLinks of a GPU one link.
    """

    trays: PositiveInt = 18
    """Compute trays in the rack."""
    gpus_per_tray: PositiveInt = 4
    """Devices in a tray; device i of a tray is on rail i."""
    nvlink_bytes_per_s: Annotated[BytesPerS, Field(gt=0.0)] | None = None
    """Out of one GPU, all its NVLinks, one direction; the catalog's figure when left out."""
    pcie_bytes_per_s: Annotated[BytesPerS, Field(gt=0.0)] | None = None
    """Between GPU, PCIe switch and NIC, one direction; the catalog's figure when left out."""
    nic_bytes_per_s: Annotated[BytesPerS, Field(gt=0.0)] | None = None
    """Out of one NIC, one direction; the catalog's figure when left out."""
    nvlink_latency_s: Annotated[Seconds, Field(ge=0.0)]
    """GPU to NVLink switch, or back."""
    pcie_latency_s: Annotated[Seconds, Field(ge=0.0)]
    """GPU to PCIe switch, PCIe switch to NIC, or back."""

    def reads(self) -> tuple[str, ...]:
        given = {
            "scale_up_bytes_per_s": self.nvlink_bytes_per_s,
            "pcie_bytes_per_s": self.pcie_bytes_per_s,
            "network_bytes_per_s": self.nic_bytes_per_s,
        }
        return tuple(name for name, value in given.items() if value is None)

    def build(self, plan: Plan, gpu: Gpu) -> None:
        """One rack."""
        start = len(plan.devices)
        for _ in range(self.trays):
            node, rack = plan.place_node(self.trays)
            for i in range(self.gpus_per_tray):
                plan.add_device(f"node{node}.gpu{i}", gpu.name, node, rack, i)
        devices = plan.devices[start:]
        middle = (plan.place(devices[0]) + plan.place(devices[-1])) / 2
        switch = plan.add(f"rack{devices[0].rack}.nvswitch", "nvswitch", middle, NVSWITCH)
        wires = Wires(
            nvlink_bytes_per_s=self.nvlink_bytes_per_s or gpu.scale_up_bytes_per_s,
            pcie_bytes_per_s=self.pcie_bytes_per_s or gpu.pcie_bytes_per_s,
            nic_bytes_per_s=self.nic_bytes_per_s or gpu.network_bytes_per_s,
            nvlink_latency_s=self.nvlink_latency_s,
            pcie_latency_s=self.pcie_latency_s,
        )
        for device in devices:
            pcie = f"{device.name}.pcie"
            if plan.network is not None:
                plan.add(pcie, "pcie", plan.place(device), PCIE)
            plan.connect(device, switch, pcie, wires)
