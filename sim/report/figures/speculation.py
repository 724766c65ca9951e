"""What speculation gives over time, and how many tokens the verify steps gave."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np

from sim.measure.bins import spread
from sim.measure.ledger import Floats
from sim.measure.step_rows import speculates
from sim.record.run_folder import RunFolder
from sim.report.series import Times, add_lines
from sim.report.style import COLOURS, layout, rounded

MOST = 40
"""Bars of the distribution: tokens per sequence, in steps of an eighth of a token."""


class Speculation:
    """Tokens per step and drafts over time; the distribution over steps."""

    title: ClassVar[str] = "Speculation"
    section: ClassVar[str] = "Throughput and load"
    note: ClassVar[str] = (
        "Tokens of a sequence per decode step, and drafts per step, by pool. Below them: how many "
        "steps gave how many tokens per sequence, means over the sequences of a step."
    )

    def draw(self, run: RunFolder) -> Any:
        """Two series and a histogram, or None where nobody speculates."""
        if not speculates(run):
            return None
        times = Times.read(run, "draft_tokens")
        if times is None:
            return None
        from plotly.subplots import make_subplots

        figure = make_subplots(rows=3, cols=1, vertical_spacing=0.13)
        for row, (column, title) in enumerate(
            (("given", "tokens per sequence"), ("drafts", "drafts per step")), start=1
        ):
            figure.update_yaxes(title_text=title, rangemode="tozero", row=row, col=1)
            figure.update_xaxes(title_text="simulated time (s)", row=row, col=1)
            values = _series(times, column)
            add_lines(figure, times, values, row=row, hover="%{y:.4g}", legend=row == 1)
        _bars(figure, run)
        return layout(figure, 620)


def _series(times: Times, column: str) -> Floats:
    """By pool and bin: a mean over the decode steps of sequences; NaN where there are none."""
    r, (by, groups) = times.activity.rows, times.by_pool
    steps = r["n"] * r["decodes"]
    amount = steps + r["accepted"] if column == "given" else steps * r["draft_tokens"]
    args = (times.edges, by[r["engine"]], groups)
    total = spread(r["start_s"], r["end_s"], amount, *args)
    count = spread(r["start_s"], r["end_s"], steps, *args)
    return np.asarray(np.divide(total, count, out=np.full(total.shape, np.nan), where=count > 0))


def _bars(figure: Any, run: RunFolder) -> None:
    import plotly.graph_objects as go

    b = run.columns("bursts", "sequences", "tokens")
    some = b["sequences"] > 0
    each = b["tokens"][some] / b["sequences"][some]
    edges = np.arange(1.0, each.max(initial=1.0) + 0.25, 0.125)[: 8 * MOST]
    counts, _ = np.histogram(each, edges)
    figure.add_trace(
        go.Bar(
            x=rounded(edges[:-1] + 0.0625), y=counts, marker={"color": COLOURS[0]},
            showlegend=False, hovertemplate="%{y} steps with about %{x:.3g} tokens<extra></extra>",
        ),
        row=3, col=1,
    )  # fmt: skip
    figure.update_xaxes(title_text="given to a sequence by a step (tokens)", row=3, col=1)
    figure.update_yaxes(title_text="steps", row=3, col=1)
