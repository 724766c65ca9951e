"""An answer for one design point, without playing it.

The point becomes a scenario; `sim.scenario.planning.plan` works out layout, memory, placement and
wires; its timer is compiled as for a run; and `sim.search.steady` (engines that serve whole
requests) or `sim.search.stations` (prefill and decode apart) say what a closed loop comes to.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from sim.search.aggregated import aggregated
from sim.search.answer import Estimate
from sim.search.design import design
from sim.search.disaggregated import disaggregated
from sim.search.point import Point
from sim.search.speculation import NOTHING, read_draft


def estimate(point: Point) -> Estimate:
    """The answer for one point, with speculation beside the same without; ScenarioError for what
    cannot be served."""
    made, serve = design(point), aggregated if point.split is None else disaggregated
    plain = serve(replace(point, speculation=None), made)
    if point.speculation is None:
        return plain
    found = plain if read_draft(point) is None else serve(point, made)
    did = replace(found.speculation or NOTHING, without=plain.rates())
    return replace(found, point=point, speculation=did)


def estimate_many(points: Iterable[Point]) -> list[Estimate]:
    """Answers in order. Points that differ in their loads only share plan and price list."""
    return [estimate(p) for p in points]
