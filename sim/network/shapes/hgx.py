"""HGX: GPUs behind NVSwitches, each with a NIC on its own rail, two to a PCIe switch."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from sim.catalog.gpu import Gpu
from sim.network.plan import NVSWITCH, PCIE, Plan, Wires
from sim.settings import settings
from sim.units import BytesPerS, PositiveInt, Seconds


@settings
class Hgx:
    """A server with one scale-up domain and one NIC per GPU (DGX and HGX A100, H100, H200, B200).

    The NVSwitches of a node are one non-blocking switch, and all NVLinks of a GPU one link: traffic
    is spread evenly over them by the hardware. A PCIe switch is non-blocking between a GPU and its
    own NIC; NICs hang on the network only if the topology has one.
    """

    gpus: PositiveInt = 8
    """Devices per node; device i is on rail i."""
    gpus_per_pcie_switch: PositiveInt = 2
    """For the drawing: devices (and NICs) that share a PCIe switch."""
    nodes_per_rack: PositiveInt = 4
    """Nodes in a rack."""
    nvlink_bytes_per_s: Annotated[BytesPerS, Field(gt=0.0)] | None = None
    """Out of one GPU, all its NVLinks, one direction; the catalog's figure when left out."""
    pcie_bytes_per_s: Annotated[BytesPerS, Field(gt=0.0)] | None = None
    """Between GPU, PCIe switch and NIC, one direction; the catalog's figure when left out."""
    nic_bytes_per_s: Annotated[BytesPerS, Field(gt=0.0)] | None = None
    """Out of one NIC, one direction; the catalog's figure when left out."""
    nvlink_latency_s: Annotated[Seconds, Field(ge=0.0)]
    """GPU to NVSwitch, or back."""
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
        """One node."""
        node, rack = plan.place_node(self.nodes_per_rack)
        start = len(plan.devices)
        for i in range(self.gpus):
            plan.add_device(f"node{node}.gpu{i}", gpu.name, node, rack, i)
        devices = plan.devices[start:]
        middle = (plan.place(devices[0]) + plan.place(devices[-1])) / 2
        switch = plan.add(f"node{node}.nvswitch", "nvswitch", middle, NVSWITCH)
        wires = Wires(
            nvlink_bytes_per_s=self.nvlink_bytes_per_s or gpu.scale_up_bytes_per_s,
            pcie_bytes_per_s=self.pcie_bytes_per_s or gpu.pcie_bytes_per_s,
            nic_bytes_per_s=self.nic_bytes_per_s or gpu.network_bytes_per_s,
            nvlink_latency_s=self.nvlink_latency_s,
            pcie_latency_s=self.pcie_latency_s,
        )
        for i, device in enumerate(devices):
            pcie = f"node{node}.pcie{i // self.gpus_per_pcie_switch}"
            if plan.network is not None and pcie not in plan.graph:
                middle = plan.place(device) + (self.gpus_per_pcie_switch - 1) / 2
                plan.add(pcie, "pcie", middle, PCIE)
            plan.connect(device, switch, pcie, wires)
