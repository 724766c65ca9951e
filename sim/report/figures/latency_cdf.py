"""Distribution functions of the latencies."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np

from sim.measure.latency import Requests
from sim.measure.ledger import Floats, Ledger
from sim.measure.run_gaps import Rows, read_tokens
from sim.measure.stays import Stays
from sim.measure.window import Window, window_of
from sim.record.run_folder import RunFolder
from sim.report.style import COLOURS, FAINT, layout, rounded

PANELS = (
    ("ttft_s", "TTFT (s)", "time to first token"),
    ("tpot_s", "TPOT (ms)", "time per output token"),
    ("itl_s", "ITL (ms)", "gap between tokens"),
    ("e2e_s", "E2E (s)", "end-to-end time"),
)
LEVELS = np.unique(np.concatenate([np.linspace(0.0, 1.0, 201), np.linspace(0.98, 1.0, 101)]))
"""Shares of the samples at which the curves are drawn: finer in the tail."""


class LatencyCdf:
    """TTFT, TPOT, ITL and E2E: the share of requests (or gaps) below each value."""

    title: ClassVar[str] = "Latency distributions"
    section: ClassVar[str] = "Latency"
    note: ClassVar[str] = (
        "Share of requests (for ITL: of gaps between tokens) at or below each value; dashed lines "
        "are SLO limits. Requests that did not finish are not in TPOT and E2E."
    )

    def draw(self, run: RunFolder) -> Any:
        """Four panels, or None when no request got a token."""
        import plotly.graph_objects as go
        from plotly.subplots import make_subplots

        curves = _curves(run)
        if not curves:
            return None
        slo = run.facts.get("slo") or {}
        figure = make_subplots(rows=1, cols=4, shared_yaxes=True, horizontal_spacing=0.035)
        for i, (name, axis, words) in enumerate(PANELS, start=1):
            scale, unit = (1e3, "ms") if axis.endswith("(ms)") else (1.0, "s")
            figure.update_xaxes(title_text=axis, rangemode="tozero", row=1, col=i)
            if name not in curves:
                continue
            values = curves[name] * scale
            figure.add_trace(
                go.Scatter(
                    x=rounded(values), y=rounded(100.0 * LEVELS), mode="lines", name=words,
                    line={"color": COLOURS[i - 1], "width": 2},
                    hovertemplate=f"%{{y:.1f}} % ≤ %{{x:.4g}} {unit}<extra>{words}</extra>",
                ),
                row=1, col=i,
            )  # fmt: skip
            if slo.get(name):
                figure.add_vline(slo[name] * scale, line={"color": FAINT, "dash": "dash"},
                                 row=1, col=i)  # fmt: skip
        figure.update_yaxes(title_text="share (%)", range=[0, 101], row=1, col=1)
        return layout(figure, 340, showlegend=False, margin={"t": 16})


def _curves(run: RunFolder) -> dict[str, Floats]:
    """Latency → its values at `LEVELS`; left out where it is undefined."""
    requests = Requests.read(run)
    window = window_of(run.facts.get("window", "all"), requests["arrival_s"], requests["end_s"])
    counted = window.arrived(requests["arrival_s"])
    curves: dict[str, Floats] = {}
    for name in ("ttft_s", "tpot_s", "e2e_s"):
        known = requests.latency(name)[counted]
        known = known[~np.isnan(known)]
        if len(known):
            curves[name] = np.quantile(known, LEVELS)
    gaps = _gaps(run, requests, window)
    return curves if gaps is None else curves | {"itl_s": gaps}


def _gaps(run: RunFolder, requests: Requests, window: Window) -> Floats | None:
    ledger = Ledger.read(run)
    stays, rows = Stays.read(run, ledger), Rows.of(ledger)
    del ledger
    gaps = read_tokens(run, rows, stays, requests).gaps(*window.bounds())
    return gaps.quantiles(np.maximum(LEVELS, 1e-12)) if len(gaps.values) else None
