"""How old the weights were that made what a loop trained on."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np

from sim.measure.ledger import Floats
from sim.measure.loop import Loop
from sim.record.run_folder import RunFolder
from sim.report.loops import SECTION, Grouped
from sim.report.style import COLOURS, FAINT, layout, rounded

MOST_BARS = 48
COLUMNS = ("state", "staleness", "response_tokens")


class RlStaleness:
    """Staleness of the tokens trained on, and of each step."""

    title: ClassVar[str] = "Staleness"
    section: ClassVar[str] = SECTION
    order: ClassVar[int] = 6
    note: ClassVar[str] = (
        "Versions between the weights that were trained and those that made a token. Left: share "
        "of the response tokens trained on (a sample that saw several versions counts with their "
        "mean); right: mean and oldest token of each step."
    )

    def draw(self, run: RunFolder) -> Any:
        """Two panels; None when nothing was stale."""
        import plotly.graph_objects as go
        from plotly.subplots import make_subplots

        loop = Loop.read(run, *COLUMNS, phases=False)
        if loop is None or len(loop) == 0 or not (loop.steps["staleness_max"] > 0).any():
            return None
        figure = make_subplots(rows=1, cols=2, horizontal_spacing=0.09)
        middles, share, width = _histogram(loop)
        figure.add_trace(
            go.Bar(
                x=rounded(middles), y=rounded(share), width=0.92 * width, name="tokens",
                marker={"color": COLOURS[0]}, showlegend=False,
                hovertemplate="%{y:.3g} % of the tokens at %{x:.3g}<extra></extra>",
            ),
            row=1, col=1,
        )  # fmt: skip
        groups, c = Grouped(loop), loop.steps
        for values, words, colour, dash in (
            (groups.mean(c["staleness"]), "mean of its tokens", COLOURS[0], None),
            (groups.most_of(c["staleness_max"]), "oldest token", FAINT, "dot"),
        ):
            figure.add_trace(
                go.Scatter(
                    x=c["step"][groups.heads], y=rounded(values), name=words, mode="lines+markers",
                    line={"color": colour, "dash": dash}, marker={"size": 5},
                    hovertemplate=f"step %{{x}}: {words} %{{y:.3g}}<extra></extra>",
                ),
                row=1, col=2,
            )  # fmt: skip
        figure.update_xaxes(title_text="staleness (versions)", row=1, col=1)
        figure.update_yaxes(title_text="share of tokens (%)", row=1, col=1)
        figure.update_xaxes(title_text=groups.axis, row=1, col=2)
        figure.update_yaxes(title_text="staleness (versions)", rangemode="tozero", row=1, col=2)
        return layout(figure, 320)


def _histogram(loop: Loop) -> tuple[Floats, Floats, float]:
    """Middles of the bars, per cent of the tokens, and the bars' width: one a version when all are
    whole and few, else a quarter or more."""
    trained = loop.trained
    values, tokens = loop.samples["staleness"][trained], loop.samples["response_tokens"][trained]
    top = float(np.nanmax(values)) if len(values) else 0.0
    whole = bool(np.all(np.abs(values - np.rint(values)) < 1e-9))
    width = 1.0 if whole else 0.25
    width *= max(1.0, np.ceil((top + width) / width / MOST_BARS))
    bar = np.rint(np.maximum(values, 0.0) / width).astype(np.int64)
    sums = np.bincount(bar, weights=tokens.astype(np.float64))
    share = np.asarray(100.0 * sums / max(float(sums.sum()), 1.0), dtype=np.float64)
    return np.asarray(width * np.arange(len(sums))), share, float(width)
