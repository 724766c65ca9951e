"""What each step of a loop takes its time for."""

from __future__ import annotations

from typing import Any, ClassVar

from sim.measure.loop import Loop
from sim.record.run_folder import RunFolder
from sim.report.loops import SECTION, Grouped
from sim.report.style import LOOP_COLOURS, layout, rounded

PARTS = (
    ("exposed_generation_s", "generation", "waiting for tokens"),
    ("exposed_reward_s", "reward", "waiting for rewards alone"),
    ("other_wait_s", "wait", "other waiting"),
    ("prepare_s", "prepare", "preparing data"),
    ("reshard_s", "reshard", "resharding"),
    ("logprob_s", "logprob", "log-probabilities"),
    ("reference_s", "reference", "reference"),
    ("train_s", "train", "training"),
    ("checkpoint_s", "checkpoint", "checkpoints"),
    ("recovery_s", "recovery", "recovery"),
    ("sync_s", "sync", "weight sync"),
)
"""Column, its colour's phase, and its words; they sum to the step."""


class RlStepTime:
    """Stacked seconds of each step, as its trainer sees them."""

    title: ClassVar[str] = "Step time by cause"
    section: ClassVar[str] = SECTION
    order: ClassVar[int] = 2
    note: ClassVar[str] = (
        "Each bar is a step, from the end of the one before to the end of its weight sync; its "
        "parts are what the trainer does or waits for. Generation that runs behind training is not "
        "in it."
    )

    def draw(self, run: RunFolder) -> Any:
        """One stack per step, or None without steps."""
        import plotly.graph_objects as go

        loop = Loop.read(run, "sample", phases=False)
        if loop is None or len(loop) == 0:
            return None
        groups, figure = Grouped(loop), go.Figure()
        columns = loop.steps | {"other_wait_s": loop.other_wait_s}
        for column, phase, words in PARTS:
            seconds = groups.mean(columns[column])
            if not seconds.any():
                continue
            figure.add_trace(
                go.Bar(
                    x=loop.steps["step"][groups.heads], y=rounded(seconds), name=words,
                    marker={"color": LOOP_COLOURS[phase]},
                    hovertemplate=f"step %{{x}}: {words} %{{y:.4g}} s<extra></extra>",
                )
            )  # fmt: skip
        figure.update_xaxes(title_text=groups.axis)
        figure.update_yaxes(title_text="duration (s)")
        return layout(figure, 380, barmode="stack", bargap=0.18, margin={"t": 60})
