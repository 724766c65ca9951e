"""How much of the generation the trainer waits for."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np

from sim.measure.loop import Loop
from sim.record.run_folder import RunFolder
from sim.report.loops import SECTION, Grouped
from sim.report.style import LOOP_COLOURS, layout, rounded


class RlExposed:
    """Generation of each step: exposed, and behind other work."""

    title: ClassVar[str] = "Generation, exposed and hidden"
    section: ClassVar[str] = SECTION
    order: ClassVar[int] = 3
    note: ClassVar[str] = (
        "Seconds from the first submission to the last token of the samples that a step trained "
        "on. In the dark part the trainer waited for tokens, in the pale one it had other work: "
        "only shorter dark parts make steps shorter."
    )

    def draw(self, run: RunFolder) -> Any:
        """One stack per step, or None without steps."""
        import plotly.graph_objects as go

        loop = Loop.read(run, "sample", phases=False)
        if loop is None or len(loop) == 0:
            return None
        groups, figure = Grouped(loop), go.Figure()
        exposed = loop.steps["exposed_generation_s"]
        hidden = np.maximum(loop.steps["generation_s"] - exposed, 0.0)
        dark, pale = LOOP_COLOURS["generation"], "#c3d4ea"
        for seconds, words, colour in ((exposed, "exposed", dark), (hidden, "hidden", pale)):
            figure.add_trace(
                go.Bar(
                    x=loop.steps["step"][groups.heads], y=rounded(groups.mean(seconds)), name=words,
                    marker={"color": colour},
                    hovertemplate=f"step %{{x}}: {words} %{{y:.4g}} s<extra></extra>",
                )
            )  # fmt: skip
        figure.update_xaxes(title_text=groups.axis)
        figure.update_yaxes(title_text="generation (s)")
        return layout(figure, 300, barmode="stack", bargap=0.18)
