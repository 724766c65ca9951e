"""Samples that a loop accepts, makes and drops per second."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np

from sim.measure.ledger import Floats
from sim.measure.loop import Loop
from sim.record.run_folder import RunFolder
from sim.report.loops import MOST_STEPS, SECTION
from sim.report.style import FAINT, FATE_COLOURS, layout, rounded, some


class RlGoodput:
    """Accepted, generated and dropped samples per second, step by step."""

    title: ClassVar[str] = "Accepted-sample goodput"
    section: ClassVar[str] = SECTION
    order: ClassVar[int] = 7
    note: ClassVar[str] = (
        "Samples trained on per second of each step, beside those that got their last token in it "
        "and those that were dropped (filtered, stale or aborted). What is generated above what is "
        "accepted is dropped or piles up. The dashed line is the accepted mean of all steps."
    )

    def draw(self, run: RunFolder) -> Any:
        """Lines of steps over time, or None without steps."""
        import plotly.graph_objects as go

        loop = Loop.read(run, "generated_s", phases=False)
        if loop is None or len(loop) == 0:
            return None
        figure, c = go.Figure(), loop.steps
        edges = _edges(loop)
        width = np.maximum(np.diff(edges), 1e-300)
        dropped = c["filtered"] + c["stale"] + c["aborted"]
        made = np.histogram(loop.samples["generated_s"], edges)[0]
        for counts, words, colour, dash in (
            (made, "generated", FAINT, None),
            (_by(edges, c["end_s"], dropped), "dropped", FATE_COLOURS["aborted"], "dot"),
            (_by(edges, c["end_s"], c["samples"]), "accepted", FATE_COLOURS["trained"], None),
        ):
            rate = counts / width
            figure.add_trace(
                go.Scatter(
                    x=rounded(edges), y=rounded(np.r_[rate, rate[-1:]]), mode="lines", name=words,
                    line={"color": colour, "shape": "hv", "width": 2, "dash": dash},
                    hovertemplate=f"{words}: %{{y:.4g}} samples/s<br>from %{{x:.5g}} s"
                    "<extra></extra>",
                )
            )  # fmt: skip
        mean = float(c["samples"].sum()) / max(loop.end_s - loop.start_s, 1e-300)
        figure.add_hline(mean, line={"color": FATE_COLOURS["trained"], "dash": "dash", "width": 1})
        figure.update_xaxes(title_text="simulated time (s)")
        figure.update_yaxes(title_text="rate (samples/s)", rangemode="tozero")
        return layout(figure, 320)


def _edges(loop: Loop) -> Floats:
    """Ends of steps, with the start of the first; an even choice of them when there are many."""
    ends = loop.steps["end_s"]
    return np.concatenate([[loop.start_s], ends[some(len(ends), MOST_STEPS)]])


def _by(edges: Floats, ends: Floats, counts: Any) -> Floats:
    """Counts of the steps that end in each span."""
    at = np.searchsorted(edges, ends, side="left") - 1
    sums = np.bincount(np.maximum(at, 0), weights=counts, minlength=len(edges) - 1)
    return np.asarray(sums, dtype=np.float64)
