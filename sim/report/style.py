"""What all figures share: colours, layout, and how many points are worth drawing."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

COLOURS = (
    "#3867a8", "#d98032", "#4b9468", "#b8504f", "#7a6aa6", "#8a6d5a", "#c47ba8", "#6f7a86",
    "#a89b3c", "#4fa3b5",
)  # fmt: skip
"""Series, in order; told apart also by those who see few colours."""

PART_COLOURS = {
    "queue_s": "#b9bfc7",
    "own_prefill_s": "#2f5d9b",
    "batch_mates_s": "#86a8d6",
    "collective_s": "#4b9468",
    "host_s": "#8a6d5a",
    "rank_wait_s": "#c9b79c",
    "pipeline_s": "#a89b3c",
    "handoff_wait_s": "#e3b778",
    "transfer_s": "#d98032",
    "contention_s": "#b8504f",
    "decode_queue_s": "#d9c9e0",
    "decode_s": "#7a6aa6",
    "draft_s": "#a99bd0",
    "stall_s": "#c47ba8",
    "recompute_s": "#5b3a3a",
}
"""Parts of a latency: greys and pale tones wait, blues and violets compute, oranges move."""

STATE_COLOURS = {
    "finished": "#3867a8",
    "rejected": "#b8504f",
    "failed": "#d98032",
    "unfinished": "#6f7a86",
    "cancelled": "#b9a36c",
}

LOOP_COLOURS = {
    "generation": "#3867a8",
    "reward": "#4b9468",
    "wait": "#c5cad2",
    "prepare": "#c9b79c",
    "reshard": "#e3b778",
    "logprob": "#b6a9d6",
    "reference": "#d9c9e0",
    "train": "#7a6aa6",
    "checkpoint": "#8a6d5a",
    "recovery": "#b8504f",
    "sync": "#d98032",
}
"""Phases of a reinforcement-learning loop: blue makes tokens, violets train, oranges move."""

FATE_COLOURS = {
    "trained": "#3867a8",
    "filtered": "#a89b3c",
    "stale": "#d98032",
    "aborted": "#b8504f",
    "in_flight": "#c5cad2",
}
"""What became of a sample."""

HEAT = ((0.0, "#f4f6f9"), (0.25, "#c3d4ea"), (0.5, "#7fa6d3"), (0.75, "#3867a8"), (1.0, "#1c3558"))
"""From nothing to full."""

USE = ((0.0, "#d5dbe3"), (0.3, "#7fa6d3"), (0.6, "#e3b778"), (0.85, "#d98032"), (1.0, "#b0322f"))
"""From idle to saturated."""

INK, FAINT, GRID = "#26323f", "#6f7a86", "#e7eaee"

WEBGL_POINTS = 2_000
"""Above this many points a scatter is drawn by WebGL."""


def layout(figure: Any, height: int, **more: Any) -> Any:
    """Give a figure the common look; `more` goes to plotly's layout, margins one by one."""
    settings: dict[str, Any] = {
        "template": "none",
        "height": height,
        "font": {"family": "Inter, system-ui, sans-serif", "size": 12, "color": INK},
        "margin": {"l": 64, "r": 24, "t": 36, "b": 48} | more.pop("margin", {}),
        "paper_bgcolor": "rgba(0,0,0,0)",
        "plot_bgcolor": "#ffffff",
        "colorway": list(COLOURS),
        "hoverlabel": {"font": {"size": 12}, "bgcolor": "#ffffff", "bordercolor": "#c9d0d8"},
        "modebar": {"bgcolor": "rgba(0,0,0,0)", "color": "#c9d0d8", "activecolor": FAINT},
        "legend": {
            "orientation": "h",
            "yanchor": "bottom",
            "y": 1.02,
            "x": 0.0,
            "traceorder": "normal",
        },
    }
    figure.update_layout(**(settings | more))
    axis = {"gridcolor": GRID, "linecolor": "#c9d0d8", "zeroline": False, "automargin": True}
    figure.update_xaxes(**axis, title_standoff=8)
    figure.update_yaxes(**axis, title_standoff=8)
    figure.update_annotations(font={"size": 12, "color": FAINT})
    return figure


def rounded(values: NDArray[Any] | list[Any]) -> NDArray[np.float32]:
    """Numbers good enough to draw, in half the bytes."""
    return np.asarray(values, dtype=np.float32)


def some(count: int, most: int) -> NDArray[np.int64]:
    """At most `most` positions out of `count`, evenly spaced, the first and the last among them."""
    if count <= most:
        return np.arange(count)
    return np.unique(np.linspace(0, count - 1, most).round().astype(np.int64))


def scatter_class(points: int) -> Any:
    """Plotly's trace class for that many points."""
    import plotly.graph_objects as go

    return go.Scattergl if points > WEBGL_POINTS else go.Scatter
