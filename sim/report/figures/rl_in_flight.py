"""Where the samples of a loop are: being generated, being scored, or waiting for the trainer."""

from __future__ import annotations

from typing import Any, ClassVar

from sim.measure.bins import edges_of
from sim.measure.loop import Loop
from sim.record.run_folder import RunFolder
from sim.report.loops import SECTION, last_moment, levels_of, mark_steps
from sim.report.style import FAINT, LOOP_COLOURS, layout, rounded

POINTS = 400
COLUMNS = ("state", "step", "submitted_s", "generated_s", "scored_s")


class RlInFlight:
    """Samples under way over time, by where they are."""

    title: ClassVar[str] = "Samples in flight"
    section: ClassVar[str] = SECTION
    order: ClassVar[int] = 9
    note: ClassVar[str] = (
        "A sample is generated, scored, and waits in the buffer until the trainer takes it. A "
        "buffer that stays full means that rollouts are ahead and samples grow old; an empty one, "
        "that the trainer waits. The dots are all that were in flight at the ends of steps, also "
        "those that were dropped later."
    )

    def draw(self, run: RunFolder) -> Any:
        """Stacked areas over time, or None without samples."""
        import plotly.graph_objects as go

        loop = Loop.read(run, *COLUMNS)
        if loop is None or len(loop.samples["state"]) == 0:
            return None
        figure, times = go.Figure(), edges_of(last_moment(loop), POINTS)
        for values, words, phase in levels_of(loop, times):
            figure.add_trace(
                go.Scatter(
                    x=rounded(times), y=rounded(values), name=words, stackgroup="all", mode="lines",
                    line={"width": 0.8, "color": LOOP_COLOURS[phase]},
                    hovertemplate=f"{words}: %{{y:,.0f}}<br>at %{{x:.5g}} s<extra></extra>",
                )
            )  # fmt: skip
        figure.add_trace(
            go.Scatter(
                x=rounded(loop.steps["end_s"]), y=loop.steps["in_flight"], mode="markers",
                name="in flight at the end of a step", marker={"size": 5, "color": FAINT},
                hovertemplate="%{y:,.0f} in flight at %{x:.5g} s<extra></extra>",
            )
        )  # fmt: skip
        mark_steps(figure, loop)
        figure.update_xaxes(title_text="simulated time (s)")
        figure.update_yaxes(title_text="in flight (samples)", rangemode="tozero")
        return layout(figure, 340)
