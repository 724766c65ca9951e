"""Hosts: how fast the processor beside the GPUs runs the engine's own code.

An engine's loop is one thread, so what counts is single-thread speed. Figures are ratios of the
published single-thread marks of the processors that the vendors' machines carry, 1 = Intel Xeon
Platinum 8480C (DGX H100).
"""

from __future__ import annotations

from dataclasses import dataclass

from sim.catalog.gpu import Gpu


@dataclass(frozen=True, slots=True)
class Host:
    """A processor."""

    name: str
    speed: float
    source: str


_MARKS = "assumed: ratio of PassMark single-thread marks, rounded"
_HOSTS = {
    "ampere": Host("AMD EPYC 7742 (DGX A100)", 0.7, _MARKS),
    "hopper": Host("Intel Xeon 8480C (DGX H100)", 1.0, "by definition"),
    "blackwell": Host("Intel Xeon 8570 (DGX B200)", 1.0, _MARKS),
}
_GRACE = Host("NVIDIA Grace", 0.9, _MARKS)
_OTHER = Host("unknown", 1.0, "assumed: like an Intel Xeon 8480C")


def host_of(gpu: Gpu) -> Host:
    """The processor that machines with this GPU usually have."""
    if gpu.name.startswith("gb"):
        return _GRACE
    return _HOSTS.get(gpu.architecture, _OTHER)
