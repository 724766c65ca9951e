"""Where the time of requests went."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np

from sim.measure.attribution import PARTS
from sim.measure.ledger import Floats
from sim.measure.summary import IN_WORDS
from sim.measure.window import window_of
from sim.record.run_folder import RunFolder
from sim.report.style import PART_COLOURS, layout

GROUPS = (
    ("all", 0.0, 1.0),
    ("middle (p45 to p55)", 0.45, 0.55),
    ("slow (above p90)", 0.90, 1.0),
    ("slowest (above p99)", 0.99, 1.0),
)
"""Groups of requests by where their latency ranks."""


class Attribution:
    """TTFT and E2E as stacks of parts that sum to the whole: all, typical and slow requests."""

    title: ClassVar[str] = "Parts of TTFT and E2E"
    section: ClassVar[str] = "Where the time goes"
    note: ClassVar[str] = (
        "Mean seconds of each part over the requests of a group. The parts of each request sum "
        "to its latency; what grows from the middle to the slowest is what makes them slow."
    )

    def draw(self, run: RunFolder) -> Any:
        """Two panels of stacked bars, or None when no request finished."""
        from plotly.subplots import make_subplots

        columns = _columns(run)
        if columns is None:
            return None
        figure = make_subplots(rows=2, cols=1, vertical_spacing=0.2)
        means = {w: _means(columns, w) for w in ("ttft", "e2e")}
        for part in PARTS:
            if any(v[part].any() for v in means.values()):
                _bars(figure, part, means)
        for row, title in enumerate(("TTFT (s)", "E2E (s)"), start=1):
            figure.update_xaxes(title_text=title, row=row, col=1)
        figure.update_yaxes(autorange="reversed")
        return layout(figure, 520, barmode="stack", bargap=0.3, margin={"t": 90, "l": 140})


def _columns(run: RunFolder) -> dict[str, Floats] | None:
    """The attribution of the requests of the window."""
    if not run.has("attribution.parquet") or run.rows("attribution") == 0:
        return None
    columns = run.columns("attribution")
    arrival, end = run.column("requests", "arrival_s"), run.column("requests", "end_s")
    counted = window_of(run.facts.get("window", "all"), arrival, end).arrived(arrival)
    keep = counted[columns["request"]]
    return {name: values[keep] for name, values in columns.items()} if keep.any() else None


def _means(columns: dict[str, Floats], whole: str) -> dict[str, Floats]:
    """Part → its mean in each of `GROUPS`."""
    total = sum((columns[f"{whole}_{p}"] for p in PARTS), np.zeros(len(columns["request"])))
    order = np.argsort(total, kind="stable")
    picks = []
    for _, low, high in GROUPS:
        first = min(int(low * len(order)), len(order) - 1)
        picks.append(order[first : max(int(np.ceil(high * len(order))), first + 1)])
    return {p: np.array([columns[f"{whole}_{p}"][at].mean() for at in picks]) for p in PARTS}


def _bars(figure: Any, part: str, means: dict[str, dict[str, Floats]]) -> None:
    import plotly.graph_objects as go

    for row, parts in enumerate(means.values(), start=1):
        total = sum(parts.values(), np.zeros(len(GROUPS)))
        share = 100.0 * parts[part] / np.maximum(total, 1e-300)
        figure.add_trace(
            go.Bar(
                y=[name for name, _, _ in GROUPS], x=parts[part], name=IN_WORDS[part],
                orientation="h", legendgroup=part, showlegend=row == 1, customdata=share,
                marker={"color": PART_COLOURS[part]},
                hovertemplate=f"{IN_WORDS[part]}: %{{x:.4g}} s (%{{customdata:.1f}} %)"
                "<extra>%{y}</extra>",
            ),
            row=row, col=1,
        )  # fmt: skip
