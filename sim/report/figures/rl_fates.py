"""What became of the samples of a loop."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np

from sim.measure.loop import Loop
from sim.record.run_folder import RunFolder
from sim.record.tables import SAMPLE_STATES
from sim.report.loops import SECTION, Grouped, name_of
from sim.report.style import FATE_COLOURS, layout


class RlFates:
    """Samples by the step in which they were submitted and what became of them."""

    title: ClassVar[str] = "What became of the samples"
    section: ClassVar[str] = SECTION
    order: ClassVar[int] = 10
    note: ClassVar[str] = (
        "Samples by the step during which they were submitted (the last one, for those that came "
        "after it). Filtered ones had nothing to teach, stale ones came too late, aborted ones "
        "were given up before their end; in flight are those that the end of the run found on "
        "their way. All but the trained ones cost tokens that taught nothing."
    )

    def draw(self, run: RunFolder) -> Any:
        """Stacked bars by step, or None without samples."""
        import plotly.graph_objects as go

        loop = Loop.read(run, "state", "submitted_s", phases=False)
        if loop is None or len(loop) == 0 or len(loop.samples["state"]) == 0:
            return None
        groups, figure, state = Grouped(loop), go.Figure(), loop.samples["state"]
        step = np.searchsorted(loop.steps["end_s"], loop.samples["submitted_s"], side="right")
        bar = np.minimum(step, len(loop) - 1) // groups.size
        for number, name in enumerate(SAMPLE_STATES):
            counts = np.bincount(bar[state == number], minlength=len(groups.heads))
            if not counts.any():
                continue
            figure.add_trace(
                go.Bar(
                    x=loop.steps["step"][groups.heads], y=counts,
                    name=f"{name_of(name)} ({counts.sum():,})",
                    marker={"color": FATE_COLOURS[name]},
                    hovertemplate=f"{name_of(name)}: %{{y:,}}<br>submitted in step %{{x}}"
                    "<extra></extra>",
                )
            )  # fmt: skip
        figure.update_xaxes(title_text=groups.axis.replace("means", "sums"))
        figure.update_yaxes(title_text="begun (samples)")
        return layout(figure, 300, barmode="stack", bargap=0.18)
