"""The `bursts` table: what the verify steps of a run gave, slot after slot."""

from __future__ import annotations

import numpy as np

from sim.engine.engine import Engine
from sim.engine.verify_lane import VerifyLane
from sim.record.log import Columns
from sim.scenario.build import Built


def write_bursts(built: Built) -> None:
    """Write the table, where anything speculates."""
    writer = built.log.writers.get("bursts")
    if writer is None:
        return
    for pool in built.pools:
        for engine in pool.engines:
            for flight in engine.flights:
                lanes = [lane for lane in flight.lanes if isinstance(lane, VerifyLane)]
                if lanes and len(lanes[0].verified.tokens):
                    writer.write(_rows(engine, flight.slot, lanes))


def _rows(engine: Engine, slot: int, lanes: list[VerifyLane]) -> Columns:
    """One row a step and rank, the ranks of a step together."""
    tokens = np.array([lane.verified.tokens for lane in lanes]).T
    members = np.array([lane.verified.members for lane in lanes]).T
    steps, ranks = tokens.shape
    return {
        "engine": np.full(tokens.size, engine.number),
        "slot": np.full(tokens.size, slot),
        "step": np.repeat(np.arange(steps), ranks),
        "rank": np.tile(np.arange(ranks), steps),
        "sequences": members.reshape(-1),
        "tokens": tokens.reshape(-1),
    }
