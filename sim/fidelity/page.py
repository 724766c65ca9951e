"""One self-contained HTML page of a comparison: groups, scatter plots, worst rows."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any

import numpy as np
import pandas as pd

from sim.fidelity.comparison import Comparison
from sim.fidelity.groups import Group, worst
from sim.fidelity.targets import target_of
from sim.units import human_seconds

MOST_POINTS = 2_000
"""Points of a figure; of more, an even choice is drawn."""
MOST_NAMES = 14
"""Groups of a figure up to which it has a legend."""
FEWEST_POINTS = 3
"""Points that make a figure."""
WORST = 40
HEIGHT = 460


@dataclass(frozen=True, slots=True)
class Look:
    """What the page has in common with the report of a run."""

    css: str
    script: str
    colours: tuple[str, ...]
    """Of groups, in turn."""
    dress: Callable[..., Any]
    """`dress(figure, height, **layout)` gives a plotly figure the common look."""


def render(title: str, comparison: Comparison, groups: list[Group], look: Look) -> str:
    """The page as text; the same comparison gives the same bytes."""
    from markupsafe import Markup
    from plotly.offline import get_plotlyjs

    outside = comparison.rows["outside"] != ""
    page = _template().render(
        title=title,
        rows=int((~outside).sum()),
        outside=int(outside.sum()),
        groups=groups,
        percent=percent,
        verdict=_verdict,
        target=_target,
        figures=_figures(comparison, look),
        worst=_worst(comparison),
        reasons=[(g.group, f"{n:,}", why) for g in groups for why, n in g.reasons.items()
                 if not g.is_total],
        css=Markup(look.css),
        script=Markup(look.script),
        plotly=Markup(get_plotlyjs()),
    )  # fmt: skip
    return str(page)


def percent(share: float | None, signed: bool = False) -> str:
    """`12.3 %`; a dash for nothing."""
    if share is None:
        return "–"
    return f"{100 * share:+.1f} %" if signed else f"{100 * share:.1f} %"


def _verdict(group: Group) -> str:
    target = target_of(group)
    met = target.met_by(group) if target else None
    return {None: "", True: "good", False: "bad"}[met]


def _target(group: Group) -> str:
    target = target_of(group)
    return target.text if target else ""


def _worst(comparison: Comparison) -> list[tuple[str, ...]]:
    return [
        (r.group, r.what, human_seconds(r.measured_s), human_seconds(r.predicted_s),
         f"{r.factor:.3g}")
        for r in worst(comparison, WORST)
    ]  # fmt: skip


def _figures(comparison: Comparison, look: Look) -> list[dict[str, Any]]:
    """A figure per kind and metric, safe inside a script element."""
    from markupsafe import Markup

    reached = comparison.rows[comparison.rows["outside"] == ""]
    figures = []
    for (kind, metric), rows in reached.groupby(["kind", "metric"], sort=False):
        if len(rows) < FEWEST_POINTS:
            continue
        drawn = rows
        if len(rows) > MOST_POINTS:
            at = np.linspace(0, len(rows) - 1, MOST_POINTS).round().astype(int)
            drawn = rows.iloc[np.unique(at)]
        shown = "" if len(drawn) == len(rows) else f", {len(drawn):,} of them drawn"
        figure = _scatter(drawn, look)
        figures.append(
            {
                "title": f"{kind}: {metric}",
                "note": f"{len(rows):,} rows{shown}. Dotted: 20 % off.",
                "height": int(figure.layout.height),
                "json": Markup(figure.to_json(engine="json").replace("</", "<\\/")),
            }
        )
    return figures


def _scatter(rows: pd.DataFrame, look: Look) -> Any:
    """Log-log, one colour a group, with the diagonal and 20 % on either side of it."""
    import plotly.graph_objects as go

    figure = go.Figure()
    ends = rows[["measured_s", "predicted_s"]].to_numpy(dtype=float)
    low, high = float(ends.min()) * 0.8, float(ends.max()) * 1.25
    for factor, dash in ((1.0, "solid"), (1.2, "dot"), (1 / 1.2, "dot")):
        figure.add_trace(
            go.Scatter(
                x=[low, high], y=[low * factor, high * factor], mode="lines", showlegend=False,
                hoverinfo="skip", line={"color": "#9aa5b1", "width": 1, "dash": dash},
            )
        )  # fmt: skip
    groups = list(rows.groupby("group", sort=False))
    for number, (name, part) in enumerate(groups):
        colour = look.colours[number % len(look.colours)]
        figure.add_trace(
            go.Scatter(
                x=part["measured_s"].to_numpy(dtype=np.float32),
                y=part["predicted_s"].to_numpy(dtype=np.float32),
                mode="markers", name=str(name), text=list(part["what"]),
                marker={"size": 5, "opacity": 0.6, "color": colour},
                hovertemplate="%{text}<br>measured %{x:.4g} s, predicted %{y:.4g} s"
                f"<extra>{name}</extra>",
            )
        )  # fmt: skip
    named = len(groups) <= MOST_NAMES
    legend = {"orientation": "v", "x": 1.01, "y": 1.0, "yanchor": "top", "xanchor": "left"}
    look.dress(figure, HEIGHT, showlegend=named, legend=legend)
    figure.update_xaxes(type="log", title_text="measured (s)", exponentformat="SI")
    figure.update_yaxes(type="log", title_text="predicted (s)", exponentformat="SI")
    return figure


@cache
def _template() -> Any:
    """Everything put into it is escaped unless marked as safe."""
    from jinja2 import Environment, StrictUndefined

    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    text = resources.files("sim.fidelity").joinpath("page.html").read_text(encoding="utf-8")
    return environment.from_string(text)
