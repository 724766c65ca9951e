"""How much of a loop's GPU time is idle: bubbles, waiting and empty engines."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np

from sim.measure.loop import Loop
from sim.measure.rl import rollout_idle, tail_s
from sim.measure.utilisation import Activity
from sim.record.run_folder import RunFolder
from sim.report.loops import SECTION, Grouped
from sim.report.style import LOOP_COLOURS, layout, rounded

SAMPLES = ("state", "step", "generated_s")


class RlIdle:
    """Shares of each step in which rollouts or trainer have nothing to do."""

    title: ClassVar[str] = "Idle time and bubbles"
    section: ClassVar[str] = SECTION
    order: ClassVar[int] = 4
    note: ClassVar[str] = (
        "Rollout GPUs are idle when their engine runs nothing (and no trainer takes turns with "
        "them); the trainer is while it waits. The bubble is the idle part of its busiest pipeline "
        "stage while it trains. Where trainer and rollouts have GPUs of their own, the pool that "
        "idles is the one that is too large."
    )

    def draw(self, run: RunFolder) -> Any:
        """Lines over the steps, or None without steps."""
        import plotly.graph_objects as go

        loop = Loop.read(run, *SAMPLES, phases=False)
        if loop is None or len(loop) == 0:
            return None
        groups, figure = Grouped(loop), go.Figure()
        idle = rollout_idle(loop, Activity.read(run))
        whole = np.maximum(loop.step_s, 1e-300)
        lines = (
            (idle, "rollout GPUs run nothing", "generation", None),
            (loop.steps["wait_s"] / whole, "trainer waits", "train", None),
            (tail_s(loop) / whole, "trainer waits for the last tenth of the samples", "recovery",
             "dot"),
            (loop.steps["bubble"], "pipeline bubble while training", "sync", "dash"),
        )  # fmt: skip
        for values, words, phase, dash in lines:
            share = 100.0 * groups.mean(values)
            figure.add_trace(
                go.Scatter(
                    x=loop.steps["step"][groups.heads], y=rounded(share), name=words,
                    mode="lines+markers", marker={"size": 5},
                    line={"color": LOOP_COLOURS[phase], "width": 1.8, "dash": dash},
                    hovertemplate=f"step %{{x}}: {words} %{{y:.3g}} %<extra></extra>",
                )
            )  # fmt: skip
        figure.update_xaxes(title_text=groups.axis)
        figure.update_yaxes(title_text="share of the step (%)", range=[0, 102])
        return layout(figure, 320)
