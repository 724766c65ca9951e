"""Engines of one role and layout."""

from __future__ import annotations

from dataclasses import dataclass

from sim.catalog.gpu import Gpu
from sim.catalog.model import Model
from sim.engine.engine import Engine
from sim.perf.memory import Memory
from sim.perf.spread import Spread
from sim.perf.task import Formats


@dataclass(frozen=True, eq=False, slots=True)
class Pool:
    """A pool as it was built."""

    name: str
    model: Model
    gpu: Gpu
    spread: Spread
    formats: Formats
    memory: Memory
    engines: tuple[Engine, ...]
    devices: tuple[tuple[int, ...], ...]
    """Topology devices of each engine, in the order of the spread."""

    @property
    def gpus(self) -> int:
        """GPUs of the pool."""
        return len(self.engines) * self.spread.devices
