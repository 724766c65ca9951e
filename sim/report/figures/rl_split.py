"""How a loop's GPUs are best split between rollouts and trainer."""

from __future__ import annotations

from typing import Any, ClassVar

from sim.record.run_folder import RunFolder
from sim.report.loops import SECTION
from sim.report.style import COLOURS, LOOP_COLOURS, layout

SPLIT = "split.json"
"""A list of `{rollout_gpus, trainer_gpus, step_s, generation_s, train_s, accepted_samples_per_s}`,
one entry a run, that a sweep leaves in a run folder."""

LINES = (
    ("step_s", "step", COLOURS[7], None),
    ("generation_s", "generation", LOOP_COLOURS["generation"], "dot"),
    ("train_s", "training", LOOP_COLOURS["train"], "dot"),
)


class RlSplit:
    """Step time and goodput over the share of GPUs that make rollouts."""

    title: ClassVar[str] = "Splitting GPUs between rollouts and trainer"
    section: ClassVar[str] = SECTION
    order: ClassVar[int] = 11
    note: ClassVar[str] = (
        "Each point is a run with another split of the GPUs. Where generation and training take "
        "equally long, neither waits for the other; beside that, the longer one bounds the step."
    )

    def draw(self, run: RunFolder) -> Any:
        """Two panels, or None when no sweep was made."""
        import plotly.graph_objects as go
        from plotly.subplots import make_subplots

        points = run.read_json(SPLIT) if run.has(SPLIT) else []
        if not points:
            return None
        points = sorted(points, key=lambda p: int(p["rollout_gpus"]))
        shares = [100.0 * p["rollout_gpus"] / (p["rollout_gpus"] + p["trainer_gpus"])
                  for p in points]  # fmt: skip
        told = [f"{p['rollout_gpus']} + {p['trainer_gpus']} GPUs" for p in points]
        figure = make_subplots(rows=1, cols=2, horizontal_spacing=0.09)
        panels = [(1, *line) for line in LINES]
        panels.append((2, "accepted_samples_per_s", "accepted samples", COLOURS[2], None))
        for col, key, words, colour, dash in panels:
            figure.add_trace(
                go.Scatter(
                    x=shares, y=[p[key] for p in points], name=words, text=told,
                    mode="lines+markers", line={"color": colour, "dash": dash, "width": 2},
                    hovertemplate=f"%{{text}}: {words} %{{y:.4g}}<extra></extra>",
                ),
                row=1, col=col,
            )  # fmt: skip
        figure.update_xaxes(title_text="GPUs for rollouts (%)")
        figure.update_yaxes(title_text="duration (s)", rangemode="tozero", row=1, col=1)
        figure.update_yaxes(title_text="goodput (samples/s)", rangemode="tozero", row=1, col=2)
        return layout(figure, 340)
