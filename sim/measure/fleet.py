"""The engines of a run as arrays, from `run.json`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from sim.measure.ledger import Floats, Ints
from sim.record.run_folder import RunFolder


@dataclass(frozen=True, slots=True)
class Fleet:
    """One array entry per engine, in the order of their numbers."""

    engines: tuple[dict[str, Any], ...]
    pools: tuple[str, ...]
    """Names of the pools, in order of their first engine."""
    pool: Ints
    gpus: Ints
    lanes: Ints
    """Ranks times passes in flight: rows of `steps` that make one engine's time. (An engine that
    runs prefill and decode in separate passes has a slot for each, but one pass at a time.)"""
    kv_blocks: Floats
    """KV blocks of each rank."""

    @classmethod
    def read(cls, run: RunFolder) -> Fleet:
        """Read `engines` of run.json."""
        engines = sorted(run.facts.get("engines", []), key=lambda e: int(e["engine"]))
        pools = tuple(dict.fromkeys(str(e["pool"]) for e in engines))
        return cls(
            tuple(engines),
            pools,
            np.array([pools.index(str(e["pool"])) for e in engines], dtype=np.int64),
            np.array([e["gpus"] for e in engines], dtype=np.int64),
            np.array([e["ranks"] * e.get("passes", e["slots"]) for e in engines], dtype=np.int64),
            np.array([e["kv_blocks"] for e in engines], dtype=np.float64),
        )

    @property
    def total_gpus(self) -> int:
        """GPUs of the whole deployment, idle ones too."""
        return int(self.gpus.sum())

    def name(self, engine: int) -> str:
        """How an engine is called."""
        return str(self.engines[engine].get("name") or f"engine {engine}")
