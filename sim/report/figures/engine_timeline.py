"""Every engine over time, as a heat map with a choice of quantities."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np

from sim.measure.ledger import Floats
from sim.record.run_folder import RunFolder
from sim.report.series import Times
from sim.report.style import HEAT, layout, rounded, some

MOST_ENGINES = 96
QUANTITIES = (
    ("busy", "busy share of its GPUs (%)"),
    ("decode", "decoding sequences"),
    ("prefill", "time in steps with prefill (%)"),
    ("tokens", "prompt tokens computed per second"),
)


class EngineTimeline:
    """Busy share, decode batch and prefill share of each engine over time."""

    title: ClassVar[str] = "Engines over time"
    section: ClassVar[str] = "Engines and GPUs"
    note: ClassVar[str] = (
        "One row per engine; choose the quantity above the map. Rows of unlike colour mean "
        "uneven routing."
    )

    def draw(self, run: RunFolder) -> Any:
        """A heat map of at most 96 engines (evenly chosen), or None without steps."""
        import plotly.graph_objects as go

        times = Times.read(run)
        if times is None:
            return None
        shown = some(len(times.fleet.engines), MOST_ENGINES)
        names = [times.fleet.name(int(i)) for i in shown]
        figure = go.Figure()
        for i, (quantity, label) in enumerate(QUANTITIES):
            values = _values(times, quantity)[shown]
            top = 100.0 if label.endswith("(%)") else float(max(values.max(), 1e-9))
            figure.add_trace(
                go.Heatmap(
                    x=rounded(times.middles), y=names, z=rounded(values), visible=i == 0,
                    zmin=0.0, zmax=top, colorscale=[list(c) for c in HEAT],
                    colorbar={"thickness": 12, "outlinewidth": 0},
                    hovertemplate="%{y} at %{x:.4g} s: %{z:.4g}<extra>" + label + "</extra>",
                )
            )  # fmt: skip
        figure.update_xaxes(title_text="simulated time (s)")
        figure.update_yaxes(autorange="reversed", showticklabels=len(names) <= 40)
        height = 150 + min(max(len(names), 2) * 26, 520)
        return layout(figure, height, updatemenus=[_menu()], margin={"t": 60})


def _menu() -> dict[str, Any]:
    """Buttons that choose the quantity."""
    count = len(QUANTITIES)
    buttons = [
        {"label": label, "method": "restyle", "args": ["visible", [j == i for j in range(count)]]}
        for i, (_, label) in enumerate(QUANTITIES)
    ]
    return {"type": "buttons", "direction": "right", "x": 0.0, "xanchor": "left", "y": 1.0,
            "yanchor": "bottom", "pad": {"b": 8}, "bgcolor": "#ffffff", "bordercolor": "#c9d0d8",
            "showactive": True, "buttons": buttons}  # fmt: skip


def _values(times: Times, quantity: str) -> Floats:
    """Shape (engines, bins)."""
    activity, r, edges = times.activity, times.activity.rows, times.edges
    count = len(times.fleet.engines)
    each = np.arange(count)
    if quantity == "tokens":
        return activity.rates("prefill_tokens", edges, each, count)
    if quantity == "decode":
        return activity.levels(r["decodes"], edges, each, count)
    if quantity == "prefill":
        share = (r["prefill_tokens"] > 0) / times.fleet.lanes[r["engine"]]
        return np.minimum(100.0 * activity.levels(share, edges, each, count), 100.0)
    whole = np.maximum(r["end_s"] - r["start_s"], 1e-300)
    busy = activity.levels(activity.busy_s() / whole, edges, each, count)
    return np.minimum(100.0 * busy, 100.0)
