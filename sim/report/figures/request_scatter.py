"""Every request as a point."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from sim.measure.latency import Requests
from sim.measure.ledger import Floats
from sim.record.run_folder import RunFolder
from sim.record.tables import STATES
from sim.report.style import STATE_COLOURS, layout, rounded, scatter_class

MOST_POINTS = 12_000


class RequestScatter:
    """Arrival against latency, and prompt length against TTFT, coloured by end state."""

    title: ClassVar[str] = "Requests one by one"
    section: ClassVar[str] = "Latency"
    note: ClassVar[str] = (
        "Each point is a request, by when it arrived or how long its prompt was. Requests "
        "without the latency in question stand at the bottom."
    )

    def draw(self, run: RunFolder) -> Any:
        """Three panels, or None without requests."""
        from plotly.subplots import make_subplots

        requests = Requests.read(run)
        if len(requests) == 0:
            return None
        figure = make_subplots(rows=1, cols=3, horizontal_spacing=0.07)
        at = _chosen(requests)
        panels = (
            ("arrival_s", requests.ttft_s, "arrival (s)", "TTFT (s)"),
            ("arrival_s", requests.e2e_s, "arrival (s)", "E2E (s)"),
            ("prompt_tokens", requests.ttft_s, "prompt (tokens)", "TTFT (s)"),
        )
        for col, (x, y, x_title, y_title) in enumerate(panels, start=1):
            _points(figure, requests, at, requests[x], y, col)
            figure.update_xaxes(title_text=x_title, row=1, col=col)
            figure.update_yaxes(title_text=y_title, rangemode="tozero", row=1, col=col)
        return layout(figure, 360)


def _chosen(requests: Requests) -> NDArray[np.int64]:
    """All requests, or an even choice and the slowest of them."""
    count = len(requests)
    if count <= MOST_POINTS:
        return np.arange(count)
    slow = np.argsort(-np.nan_to_num(requests.ttft_s, nan=-1.0), kind="stable")[: MOST_POINTS // 6]
    even = np.linspace(0, count - 1, MOST_POINTS - len(slow)).astype(np.int64)
    return np.unique(np.concatenate([slow, even]))


def _points(
    figure: Any, requests: Requests, at: NDArray[np.int64], x: Floats, y: Floats, col: int
) -> None:
    trace = scatter_class(len(at))
    for number, state in enumerate(STATES):
        mine = at[requests["state"][at] == number]
        if len(mine) == 0:
            continue
        figure.add_trace(
            trace(
                x=rounded(x[mine]), y=rounded(np.nan_to_num(y[mine], nan=0.0)), mode="markers",
                name=state, legendgroup=state, showlegend=col == 1, customdata=mine,
                marker={"color": STATE_COLOURS[state], "size": 5, "opacity": 0.55},
                hovertemplate="request %{customdata}<br>%{x:.5g}, %{y:.4g} s"
                f"<extra>{state}</extra>",
            ),
            row=1, col=col,
        )  # fmt: skip
