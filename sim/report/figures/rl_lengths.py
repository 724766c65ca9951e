"""How long responses are, and how heavy their tail is."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np

from sim.measure.loop import IN_FLIGHT, Loop
from sim.record.run_folder import RunFolder
from sim.record.tables import SAMPLE_STATES
from sim.report.loops import SECTION, name_of
from sim.report.style import FAINT, FATE_COLOURS, layout, rounded

LEVELS = np.unique(np.concatenate([np.linspace(0.0, 1.0, 151), 1.0 - np.logspace(0, -5, 121)]))
"""Shares at which the curves are drawn: finer in the tail."""

SHOWN = tuple(state for state in SAMPLE_STATES if state != "in_flight")


class RlLengths:
    """Distribution of response lengths, by what became of the samples."""

    title: ClassVar[str] = "Response lengths and their tail"
    section: ClassVar[str] = SECTION
    order: ClassVar[int] = 5
    note: ClassVar[str] = (
        "Left, the share of responses up to a length; right, the share beyond it, both axes "
        "logarithmic: a line that falls slowly is a heavy tail. Dotted: mean and longest of those "
        "trained on; a synchronous step is as long as its longest. Aborted ones were cut short."
    )

    def draw(self, run: RunFolder) -> Any:
        """Two panels, or None without responses."""
        from plotly.subplots import make_subplots

        loop = Loop.read(run, "state", "response_tokens", phases=False)
        if loop is None:
            return None
        state, tokens = loop.samples["state"], loop.samples["response_tokens"]
        if not ((state != IN_FLIGHT) & (tokens > 0)).any():
            return None
        figure = make_subplots(rows=1, cols=2, horizontal_spacing=0.09)
        for number, name in enumerate(SAMPLE_STATES):
            mine = tokens[(state == number) & (tokens > 0)]
            if name in SHOWN and len(mine):
                _curves(figure, name, mine)
        trained = tokens[loop.trained]
        if len(trained):
            for value in (float(trained.mean()), float(trained.max())):
                figure.add_vline(value, line={"color": FAINT, "dash": "dot"}, row=1, col=1)
        figure.update_xaxes(type="log", title_text="response (tokens)")
        figure.update_yaxes(title_text="share up to it (%)", range=[0, 101], row=1, col=1)
        figure.update_yaxes(title_text="share beyond it (%)", type="log", dtick=1, row=1,
                            col=2)  # fmt: skip
        return layout(figure, 360)


def _curves(figure: Any, name: str, tokens: Any) -> None:
    """Distribution function and its complement."""
    import plotly.graph_objects as go

    values = np.quantile(tokens, LEVELS)
    beyond = 100.0 * (1.0 - LEVELS)
    tail = beyond >= max(100.0 / len(tokens), 1e-3)
    for col, (x, y, what) in enumerate(
        ((values, 100.0 * LEVELS, "≤"), (values[tail], beyond[tail], ">")), start=1
    ):
        figure.add_trace(
            go.Scatter(
                x=rounded(x), y=rounded(y), mode="lines", name=name_of(name), legendgroup=name,
                showlegend=col == 1, line={"color": FATE_COLOURS[name], "width": 2},
                hovertemplate=f"{name_of(name)}: %{{y:.3g}} % {what} %{{x:,.0f}} tokens"
                "<extra></extra>",
            ),
            row=1, col=col,
        )  # fmt: skip
