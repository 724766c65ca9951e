"""Which seat a request goes to, one policy a file."""

from __future__ import annotations

from typing import Protocol

from sim.cluster.view import View
from sim.rng import Draws
from sim.workload.request import Ask


class Route(Protocol):
    """A running router."""

    def pick(self, ask: Ask, view: View) -> int:
        """Index of the chosen seat."""


class Router(Protocol):
    """What every file here provides: settings that start a router."""

    def start(self, draws: Draws) -> Route:
        """A new router; `draws` are its own random numbers."""
