"""What deployments are built from, and what they tell the cluster."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from sim.clock import Clock
from sim.cluster.pool import Pool
from sim.cluster.view import View
from sim.engine.sequence import Sequence
from sim.network.fabric import Fabric
from sim.network.topology import Topology
from sim.record.log import Log
from sim.rng import Draws


class Ears(Protocol):
    """Who hears of the requests' fates: the cluster."""

    def first_token(self, sequence: Sequence) -> None:
        """Its first token is visible to the client from now on."""

    def finished(self, sequence: Sequence, engine: int) -> None:
        """Its last token was made by `engine`."""

    def failed(self, sequence: Sequence) -> None:
        """It was lost with an engine."""

    def cancelled(self, sequence: Sequence) -> None:
        """Its client gave it up, and every engine has let it go."""


@dataclass(frozen=True, slots=True)
class ClusterServices:
    """What every deployment shares."""

    clock: Clock
    log: Log
    fabric: Fabric
    topology: Topology
    pools: dict[str, Pool]
    views: dict[str, View]
    """By pool, one seat per rank of its engines."""
    draws: Callable[[str], Draws]
    """Random numbers of a named stream."""
    ears: Ears
