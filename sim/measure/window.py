"""Which part of a run is measured.

- `all`: everything, from the first arrival to the last end. For traces and fixed counts.
- `steady`: for generated open load, without the filling and the draining of the system: requests
  that arrive between 20 % and 90 % of the span of arrivals (or other shares, as written in
  `run.json`: `{"steady": {"from_share": 0.2, "to_share": 0.9}}`). Latencies are those of these
  requests, whenever they end; throughput and gaps are those of the tokens made in that time.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sim.errors import ScenarioError, suggest

STEADY = {"from_share": 0.2, "to_share": 0.9}
"""Shares of the arrival span between which a steady window lies."""


@dataclass(frozen=True, slots=True)
class Window:
    """A span of simulated time, and whose requests count."""

    kind: str
    start_s: float
    end_s: float
    rule: str
    """The rule in words."""

    @property
    def length_s(self) -> float:
        return self.end_s - self.start_s

    def arrived(self, arrival_s: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Which requests count: those that arrived in it."""
        if self.kind == "all":
            return np.ones(len(arrival_s), dtype=np.bool_)
        return np.asarray((arrival_s >= self.start_s) & (arrival_s < self.end_s))

    def bounds(self) -> tuple[float, float]:
        """Bounds (from, to] for counting tokens; without limits when all count."""
        return (-np.inf, np.inf) if self.kind == "all" else (self.start_s, self.end_s)

    def share(self, start_s: NDArray[Any], end_s: NDArray[Any]) -> NDArray[np.float64]:
        """Share of each span of time that lies in the window; a moment is in or out."""
        low, high = self.bounds()
        whole = end_s - start_s
        inside = np.clip(np.minimum(end_s, high) - np.maximum(start_s, low), 0.0, None)
        moment = ((end_s > low) & (end_s <= high)).astype(np.float64)
        return np.asarray(np.divide(inside, whole, out=moment, where=whole > 0))


def window_of(
    setting: object, arrival_s: NDArray[np.float64], end_s: NDArray[np.float64]
) -> Window:
    """The window that `run.json` asks for (`all`, `steady`, or `{"steady": {…}}`).

    Raises ScenarioError for another kind or key.
    """
    kind, given = _decode(setting)
    if len(arrival_s) == 0:
        return Window(kind, 0.0, 0.0, "no request arrived")
    first, last = float(arrival_s.min()), float(arrival_s.max())
    if kind == "all":
        end = max(last, float(np.nanmax(end_s)))
        return Window("all", first, end, "every request, from the first arrival to the last end")
    shares = STEADY | given
    low, high = (first + shares[k] * (last - first) for k in ("from_share", "to_share"))
    rule = (
        f"requests that arrived between {shares['from_share']:.0%} and {shares['to_share']:.0%} "
        "of the span of arrivals; throughput and token gaps of the tokens made in that time"
    )
    return Window("steady", low, high, rule)


def _decode(setting: object) -> tuple[str, dict[str, float]]:
    kind, given = setting, dict[str, float]()
    if isinstance(setting, dict) and len(setting) == 1:
        kind, given = next(iter(setting.items()))
        given = given or {}
    if kind not in ("all", "steady"):
        raise ScenarioError(f"measure.window: '{kind}' is not a window; write all or steady")
    allowed = STEADY if kind == "steady" else {}
    for key in given:
        if key not in allowed:
            raise ScenarioError(f"measure.window: '{key}' is no setting{suggest(key, allowed)}")
    return str(kind), {k: float(v) for k, v in given.items()}
