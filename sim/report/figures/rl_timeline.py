"""Who does what when in a loop, and how many sequences its engines run."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np

from sim.measure.bins import edges_of
from sim.measure.loop import Loop
from sim.measure.utilisation import Activity
from sim.record.run_folder import RunFolder
from sim.record.tables import ACTORS, PHASES
from sim.report.loops import SECTION, mark_steps, name_of
from sim.report.style import COLOURS, LOOP_COLOURS, layout, rounded

MOST_PHASES = 4_000
BINS = 900
SHOWN_STEPS = 10
ROWS = ("rollout", "reward", "trainer", "weight_sync")
"""Actors from the bottom up."""


class RlTimeline:
    """A Gantt chart of the actors above the running sequences of each pool."""

    title: ClassVar[str] = "The loop over time"
    section: ClassVar[str] = SECTION
    order: ClassVar[int] = 1
    note: ClassVar[str] = (
        "Each bar is a phase of one actor; below, the sequences that run in each pool of engines. "
        "Grey in the trainer's row is waiting; few sequences for long, while it waits, are the "
        "tail of long responses. Dotted lines are the ends of steps. The first steps are shown; "
        "a double click shows all (of at most 4,000 phases)."
    )

    def draw(self, run: RunFolder) -> Any:
        """Two panels over one time axis, or None without phases."""
        from plotly.subplots import make_subplots

        loop = Loop.read(run, "sample")
        if loop is None or len(loop.phases["step"]) == 0:
            return None
        figure = make_subplots(rows=2, cols=1, shared_xaxes=True, vertical_spacing=0.06,
                               row_heights=[0.52, 0.48])  # fmt: skip
        _phases(figure, loop)
        end = float(loop.phases["end_s"].max())
        _running(figure, run, end)
        mark_steps(figure, loop)
        shown = end
        if len(loop) > SHOWN_STEPS:
            shown = float(loop.steps["end_s"][SHOWN_STEPS - 1])
        figure.update_xaxes(range=[loop.start_s, shown])
        figure.update_xaxes(title_text="simulated time (s)", row=2, col=1)
        present = [name_of(a) for a in ROWS if ACTORS.index(a) in loop.phases["actor"]]
        figure.update_yaxes(title_text="actor (phases)", row=1, col=1, categoryorder="array",
                            categoryarray=present)  # fmt: skip
        figure.update_yaxes(title_text="running (sequences)", rangemode="tozero", row=2, col=1)
        return layout(figure, 510, barmode="overlay", bargap=0.3, margin={"t": 64},
                      updatemenus=[_scales()])  # fmt: skip


def _scales() -> dict[str, Any]:
    """Buttons for the axis of sequences; a tail is better seen on a logarithmic one."""
    buttons = [
        {"label": name, "method": "relayout", "args": [{"yaxis2.type": kind}]}
        for name, kind in (("linear", "linear"), ("logarithmic", "log"))
    ]
    return {"type": "buttons", "direction": "right", "x": 1.0, "xanchor": "right", "y": 0.47,
            "yanchor": "top", "bgcolor": "#ffffff", "bordercolor": "#c9d0d8", "showactive": True,
            "font": {"size": 10}, "pad": {"t": 0}, "buttons": buttons}  # fmt: skip


def _phases(figure: Any, loop: Loop) -> None:
    """One trace of bars per phase."""
    import plotly.graph_objects as go

    c = loop.phases
    first = np.argsort(c["start_s"], kind="stable")[:MOST_PHASES]
    actors = np.array([name_of(a) for a in ACTORS], dtype=object)
    for number, phase in enumerate(PHASES):
        mine = first[c["phase"][first] == number]
        if len(mine) == 0:
            continue
        figure.add_trace(
            go.Bar(
                y=actors[c["actor"][mine]], x=c["end_s"][mine] - c["start_s"][mine],
                base=c["start_s"][mine], orientation="h", name=name_of(phase),
                marker={"color": LOOP_COLOURS[phase], "line": {"color": "#ffffff", "width": 0.6}},
                customdata=np.stack([c["step"][mine], c["end_s"][mine]], axis=1),
                hovertemplate=f"{name_of(phase)} of step %{{customdata[0]}}: %{{x:.4g}} s<br>"
                "%{base:.5g} … %{customdata[1]:.5g} s<extra></extra>",
            ),
            row=1, col=1,
        )  # fmt: skip


def _running(figure: Any, run: RunFolder, end_s: float) -> None:
    """Mean number of sequences in steps, by pool."""
    import plotly.graph_objects as go

    activity = Activity.read(run)
    r, fleet = activity.rows, activity.fleet
    if len(r["n"]) == 0:
        return
    edges = edges_of(end_s, BINS)
    running = activity.levels(r["decodes"] + r["prefills"], edges, fleet.pool, len(fleet.pools))
    for i, name in enumerate(fleet.pools):
        colour = COLOURS[i % len(COLOURS)]
        figure.add_trace(
            go.Scatter(
                x=rounded((edges[1:] + edges[:-1]) / 2), y=rounded(running[i]), mode="lines",
                name=f"sequences in {name}", line={"color": colour, "width": 1.4},
                fill="tozeroy" if len(fleet.pools) == 1 else None,
                fillcolor="rgba(56, 103, 168, 0.14)",
                hovertemplate=f"{name}: %{{y:.4g}} sequences<br>at %{{x:.5g}} s<extra></extra>",
            ),
            row=2, col=1,
        )  # fmt: skip
