"""What the GPUs' time went into, by pool."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np

from sim.measure.ledger import Floats
from sim.measure.utilisation import CAUSES, Activity
from sim.record.run_folder import RunFolder
from sim.report.style import layout

LABELS = {
    "linear_s": ("linear layers", "#2f5d9b"),
    "attention_s": ("attention", "#7a6aa6"),
    "experts_s": ("experts", "#86a8d6"),
    "draft_s": ("drafting", "#a99bd0"),
    "collective_s": ("collectives", "#4b9468"),
    "host_s": ("host overhead", "#8a6d5a"),
    "contention_s": ("contention", "#b8504f"),
    "rank_wait_s": ("waiting for ranks", "#c9b79c"),
    "pipeline_s": ("waiting for stages", "#a89b3c"),
    "idle": ("idle", "#e7eaee"),
}


class GpuTime:
    """Stacked shares of GPU time by cause."""

    title: ClassVar[str] = "Where GPU time goes"
    section: ClassVar[str] = "Engines and GPUs"
    note: ClassVar[str] = (
        "Share of each pool's GPU time over the whole run. Prefill and decode are both in it: "
        "attention and linear layers are what the GPU is for, the rest is overhead."
    )

    def draw(self, run: RunFolder) -> Any:
        """One bar per pool, or None without steps."""
        import plotly.graph_objects as go

        activity = Activity.read(run, *CAUSES)
        length = float(run.facts.get("simulated_s") or 0.0)
        if len(activity.rows["n"]) == 0 or length <= 0:
            return None
        shares = _shares(activity, length)
        figure = go.Figure()
        for cause, (label, colour) in LABELS.items():
            if cause == "draft_s" and not shares[cause].any():
                continue
            figure.add_trace(
                go.Bar(
                    y=list(activity.fleet.pools), x=100.0 * shares[cause], name=label,
                    orientation="h", marker={"color": colour},
                    hovertemplate=f"%{{y}}: {label} %{{x:.2f}} %<extra></extra>",
                )
            )  # fmt: skip
        figure.update_xaxes(title_text="share of GPU time (%)", range=[0, 100])
        figure.update_yaxes(autorange="reversed")
        height = 170 + 44 * len(activity.fleet.pools)
        return layout(figure, height, barmode="stack", bargap=0.35, margin={"t": 64})


def _shares(activity: Activity, length_s: float) -> dict[str, Floats]:
    """Cause → share of the time of each pool's GPUs."""
    fleet, r = activity.fleet, activity.rows
    weight = fleet.gpus / fleet.lanes
    gpu_s = np.bincount(fleet.pool, weights=fleet.gpus * length_s, minlength=len(fleet.pools))
    shares = {}
    for cause in CAUSES:
        seconds = activity.by_engine(r[cause], np.ones(len(r["n"]))) * weight
        by_pool = np.bincount(fleet.pool, weights=seconds, minlength=len(fleet.pools))
        shares[cause] = by_pool / np.maximum(gpu_s, 1e-300)
    used = sum(shares.values(), np.zeros(len(fleet.pools)))
    return shares | {"idle": np.maximum(1.0 - used, 0.0)}
