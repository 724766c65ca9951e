"""Tokens per second and GPU of rollouts and trainer."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np

from sim.measure.bins import edges_of, spread
from sim.measure.ledger import Floats
from sim.measure.loop import Loop
from sim.measure.utilisation import Activity
from sim.record.run_folder import RunFolder
from sim.record.tables import ACTORS, PHASES
from sim.report.loops import SECTION, mark_steps
from sim.report.series import rows_of
from sim.report.style import COLOURS, LOOP_COLOURS, layout, rounded

BINS = 300


class RlTokens:
    """Response tokens made, and tokens trained on, per second and GPU."""

    title: ClassVar[str] = "Tokens per second and GPU"
    section: ClassVar[str] = SECTION
    order: ClassVar[int] = 8
    note: ClassVar[str] = (
        "Above, tokens sampled by each pool of engines; below, prompt and response tokens while "
        "the trainer trains on them. Both are per GPU of the pool. Rollouts that slow down towards "
        "the end of each step are left with a few long responses."
    )

    def draw(self, run: RunFolder) -> Any:
        """Two rows over time, or None without steps."""
        import plotly.graph_objects as go

        loop = Loop.read(run, "sample")
        if loop is None or len(loop) == 0:
            return None
        edges = edges_of(loop.end_s, BINS)
        middles = rounded((edges[1:] + edges[:-1]) / 2)
        figure = rows_of(2, ["rollouts (tokens/s/GPU)", "trainer (tokens/s/GPU)"])
        lines = [(1, name, rate, COLOURS[i % len(COLOURS)])
                 for i, (name, rate) in enumerate(_rollouts(run, edges).items())]  # fmt: skip
        lines.append((2, "trainer", _trainer(loop, edges), LOOP_COLOURS["train"]))
        for row, name, rate, colour in lines:
            figure.add_trace(
                go.Scatter(
                    x=middles, y=rounded(rate), mode="lines", name=name,
                    line={"color": colour, "width": 1.6},
                    hovertemplate=f"{name}: %{{y:.4g}} tokens/s/GPU<br>at %{{x:.5g}} s"
                    "<extra></extra>",
                ),
                row=row, col=1,
            )  # fmt: skip
        mark_steps(figure, loop)
        return layout(figure, 420)


def _rollouts(run: RunFolder, edges: Floats) -> dict[str, Floats]:
    """Sampled tokens per second and GPU, by pool."""
    activity = Activity.read(run)
    fleet = activity.fleet
    rates = activity.rates("sampled", edges, fleet.pool, len(fleet.pools))
    gpus = np.bincount(fleet.pool, weights=fleet.gpus, minlength=len(fleet.pools))
    return {name: rates[i] / max(gpus[i], 1) for i, name in enumerate(fleet.pools)}


def _trainer(loop: Loop, edges: Floats) -> Floats:
    """The tokens of each step, spread over its training phases."""
    c = loop.phases
    mine = (c["actor"] == ACTORS.index("trainer")) & (c["phase"] == PHASES.index("train"))
    mine &= c["step"] < len(loop)
    step, start, end = (c[name][mine] for name in ("step", "start_s", "end_s"))
    whole = np.maximum(np.bincount(step, end - start, len(loop)), 1e-300)
    used = loop.steps["prompt_tokens"] + loop.steps["response_tokens"]
    tokens = used[step] * (end - start) / whole[step]
    gpus = max(loop.gpus["trainer"], 1)
    return np.asarray(spread(start, end, tokens, edges)[0] / np.diff(edges) / gpus)
