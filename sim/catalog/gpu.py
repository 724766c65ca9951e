"""What a GPU is: peaks, memory and links from data sheets. All rates dense, per direction."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Gpu:
    """One GPU as its data sheet describes it, loaded from `catalog/gpus/NAME.yaml`."""

    name: str
    architecture: str
    """`ampere`, `hopper`, `blackwell`, `cdna3`, `cdna4`."""
    flops_per_s: dict[str, float]
    """Dense matrix peak by number format of the operands: `bf16`, `fp8`, `fp4`, `int8` …"""
    hbm_bytes: float
    """Memory that the vendor states, 10⁹ based where the vendor's figure is."""
    hbm_bytes_per_s: float
    scale_up_bytes_per_s: float
    """NVLink or Infinity Fabric bandwidth out of one GPU, one direction."""
    scale_up_domain: int
    """GPUs that reach each other at that speed."""
    network_bytes_per_s: float
    """Scale-out bandwidth per GPU, one direction."""
    pcie_bytes_per_s: float
    power_w: float
    sources: dict[str, str]
    """Figure name → where it is from; a guess begins with `assumed:`."""
