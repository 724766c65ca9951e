"""Series over time, by pool, as several figures draw them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from sim.measure.bins import edges_of
from sim.measure.fleet import Fleet
from sim.measure.ledger import Floats, Ints
from sim.measure.utilisation import Activity
from sim.record.run_folder import RunFolder
from sim.report.style import COLOURS, rounded

BINS = 240


@dataclass(frozen=True, slots=True)
class Times:
    """The steps of a run with bins of time from 0 to its end."""

    activity: Activity
    edges: Floats

    @classmethod
    def read(cls, run: RunFolder, *columns: str) -> Times | None:
        """None when the run has no steps."""
        activity = Activity.read(run, *columns)
        if len(activity.rows["n"]) == 0:
            return None
        return cls(activity, edges_of(float(activity.rows["end_s"].max()), BINS))

    @property
    def middles(self) -> Floats:
        return np.asarray((self.edges[1:] + self.edges[:-1]) / 2)

    @property
    def fleet(self) -> Fleet:
        return self.activity.fleet

    @property
    def by_pool(self) -> tuple[Ints, int]:
        """Pool of each engine, and how many there are."""
        return self.fleet.pool, len(self.fleet.pools)


def add_lines(
    figure: Any, times: Times, values: Floats, *, row: int, hover: str, legend: bool
) -> None:
    """One line per pool in a row of a figure; `hover` formats y."""
    import plotly.graph_objects as go

    for i, name in enumerate(times.fleet.pools):
        colour = COLOURS[i % len(COLOURS)]
        figure.add_trace(
            go.Scatter(
                x=rounded(times.middles),
                y=rounded(values[i]),
                name=name,
                legendgroup=name,
                showlegend=legend,
                mode="lines",
                line={"color": colour, "width": 1.6},
                hovertemplate=f"{name}: {hover}<br>at %{{x:.4g}} s<extra></extra>",
            ),
            row=row,
            col=1,
        )


def rows_of(count: int, titles: list[str]) -> Any:
    """A figure of `count` rows that share the time axis."""
    from plotly.subplots import make_subplots

    figure = make_subplots(rows=count, cols=1, shared_xaxes=True, vertical_spacing=0.08)
    for i, title in enumerate(titles):
        figure.update_yaxes(title_text=title, rangemode="tozero", row=i + 1, col=1)
    figure.update_xaxes(title_text="simulated time (s)", row=count, col=1)
    return figure
