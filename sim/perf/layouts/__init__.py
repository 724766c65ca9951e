"""How a model is spread over the devices of one engine, one layout a file.

A layout is its settings; `plan(model)` checks that they divide the model and returns a `Spread`.
"""

from __future__ import annotations

from typing import Protocol

from sim.catalog.model import Model
from sim.perf.spread import Spread


class Layout(Protocol):
    """What every file here provides."""

    def plan(self, model: Model) -> Spread:
        """The spread of `model`; ScenarioError when the layout does not divide it."""
