"""A discrete-event simulator of clusters that serve large language models.

>>> from sim import Scenario, run
>>> result = run("experiments/001-first-run/disaggregated.yaml")  # doctest: +SKIP
>>> result.summary["ttft_s"]["p99"]  # doctest: +SKIP
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sim.api import Result, run
    from sim.errors import BrokenInvariant, ScenarioError
    from sim.scenario.scenario import Scenario

__all__ = ["BrokenInvariant", "Result", "Scenario", "ScenarioError", "run"]

_HOMES = {
    "BrokenInvariant": "sim.errors",
    "Result": "sim.api",
    "Scenario": "sim.scenario.scenario",
    "ScenarioError": "sim.errors",
    "run": "sim.api",
}


def __getattr__(name: str) -> Any:
    """Load the public names when they are asked for, so that `import sim` costs nothing."""
    if name not in _HOMES:
        raise AttributeError(f"module 'sim' has no attribute '{name}'")
    from importlib import import_module

    return getattr(import_module(_HOMES[name]), name)
