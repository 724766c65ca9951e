"""One self-contained page: numbers, figures, tables and settings of a run, for any browser,
offline.

Plotly's script is in it once; figures are JSON that is drawn when it comes into view. The same run
gives the same bytes.
"""

from __future__ import annotations

from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

from sim import plugins
from sim.record.run_folder import RunFolder
from sim.report.cards import cards
from sim.report.loop_cards import loop_cards
from sim.report.tables import assumptions_table, engine_table, machine_table, pool_table

FIGURES = "sim.report.figures"

SECTIONS = (
    "Reinforcement learning",
    "Latency",
    "Where the time goes",
    "Throughput and load",
    "Engines and GPUs",
    "Network",
)
"""Sections with figures, in order; a figure may name another, which comes after them."""

MOST_ENGINES = 200
"""Rows of the table of engines."""


def write_report(run: RunFolder) -> Path:
    """Write `report.html` into the folder of a measured run; returns its path.

    Raises ScenarioError when the run has no summary or the file cannot be written.
    """
    return run.write_text("report.html", render(run))


def render(run: RunFolder) -> str:
    """The page as text."""
    from markupsafe import Markup
    from plotly.offline import get_plotlyjs

    summary, facts = run.read_json("summary.json"), run.facts
    page = _template().render(
        name=facts.get("name", run.path.name),
        facts=facts,
        summary=summary,
        warnings=warnings(summary, facts),
        cards=[*(loop_cards(summary["rl"]) if "rl" in summary else ()), *cards(summary)],
        sections=draw_figures(run),
        tables={
            "pools": pool_table(summary),
            "engines": engine_table(facts.get("engines", []), MOST_ENGINES),
            "machine": machine_table(_optional(run, "topology.json")),
            "assumptions": assumptions_table(_optional(run, "assumptions.json")),
        },
        workload=_optional(run, "workload.json"),
        scenario=run.read_text("scenario.yaml") if run.has("scenario.yaml") else "",
        style=Markup(_resource("page.css")),
        script=Markup(_resource("page.js")),
        plotly=Markup(get_plotlyjs()),
    )
    return str(page)


def draw_figures(run: RunFolder) -> dict[str, list[dict[str, Any]]]:
    """Section → its figures: name, title, note and plotly's JSON, safe inside a script element."""
    from markupsafe import Markup

    sections: dict[str, list[dict[str, Any]]] = {name: [] for name in SECTIONS}
    figures = {name: plugins.load(FIGURES, name)() for name in plugins.names(FIGURES)}
    for name, figure in sorted(figures.items(), key=lambda f: getattr(f[1], "order", 0)):
        drawn = figure.draw(run)
        if drawn is None:
            continue
        sections.setdefault(figure.section, []).append(
            {
                "name": name,
                "title": figure.title,
                "note": figure.note,
                "height": int(drawn.layout.height),
                "json": Markup(drawn.to_json(engine="json").replace("</", "<\\/")),
            }
        )
    return {name: figures for name, figures in sections.items() if figures}


def warnings(summary: dict[str, Any], facts: dict[str, Any]) -> list[str]:
    """What a reader must know before believing the numbers."""
    said = []
    if summary["partial"]:
        said.append(
            f"The run was stopped early, at {facts.get('simulated_s') or 0.0:g} s: what was under "
            "way is counted as unfinished."
        )
    if summary.get("clock") == "runs":
        said.append(
            "Single steps were not recorded (record.clock: runs): gaps between tokens are means "
            "over runs of steps with the same members."
        )
    if facts.get("gave_up"):
        said.append(f"The loop ended early: {facts['gave_up']}.")
    counts = summary["requests"]
    lost = counts["arrived"] - counts["finished"]
    if "rl" in summary:  # a loop ends with samples under way, and gives some up
        lost = counts["rejected"] + counts["failed"]
    if counts["arrived"] and lost > 0.01 * counts["arrived"]:
        said.append(
            f"{lost:,} of {counts['arrived']:,} requests did not finish "
            f"({counts['rejected']:,} rejected, {counts['failed']:,} failed, "
            f"{counts['unfinished']:,} unfinished). Latencies are of the others only."
        )
    return said


def _optional(run: RunFolder, name: str) -> Any:
    return run.read_json(name) if run.has(name) else None


def _resource(name: str) -> str:
    return resources.files("sim.report").joinpath(name).read_text(encoding="utf-8")


@cache
def _template() -> Any:
    """The page's template; everything put into it is escaped unless marked as safe."""
    from jinja2 import Environment, StrictUndefined

    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    return environment.from_string(_resource("page.html"))
