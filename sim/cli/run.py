"""`sim run`: play a scenario."""

from __future__ import annotations

from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Annotated

import typer

from sim.cli.failures import INTERRUPTED, MISTAKE
from sim.cli.options import Json, ScenarioFile, Set, load_scenario
from sim.cli.output import out_console, print_json

if TYPE_CHECKING:
    from sim.api import Result


def run(
    scenario: ScenarioFile,
    changes: Set = None,
    seed: Annotated[
        int | None, typer.Option(min=0, help="Seed of all randomness; over file and --set.")
    ] = None,
    until: Annotated[
        str | None,
        typer.Option(metavar="TIME", help="End at this simulated time, such as '30 s' or '5 min'."),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Run folder.", show_default="the next runs/NAME-NNN"),
    ] = None,
    json: Json = False,
    no_report: Annotated[bool, typer.Option("--no-report", help="Write no report.html.")] = False,
) -> None:
    """Play a scenario: tables, summary and report go to a run folder.

    Ctrl-C ends a run early; what was played is kept and measured.

    [bold]Examples[/bold]

      sim run experiments/001-first-run/aggregated.yaml

      sim run scenario.yaml --set pools.serve.engines=4 --set deployment.aggregated.router=random

      sim run scenario.yaml --seed 7 --until '5 min' --json
    """
    from sim import api
    from sim.cli.progress import Bar

    loaded = load_scenario(scenario, changes, seed, until)
    replaced = out is not None and (Path(out) / "run.json").is_file()
    began = perf_counter()
    with Bar() as bar:
        result = api.run(loaded, out=out, progress=bar, report=not no_report, doing=bar.doing)
    _show(result, json, perf_counter() - began)
    if replaced:
        typer.echo("it replaced an earlier run there", err=True)
    if result.gave_up:
        typer.echo(f"error: {result.gave_up}", err=True)
        raise typer.Exit(MISTAKE)
    if result.partial:
        raise typer.Exit(INTERRUPTED)


def _show(result: Result, json: bool, took_s: float) -> None:
    """The summary on stdout; where everything is, on stderr."""
    from sim.report.terminal import print_summary
    from sim.units import human_seconds

    if json:
        print_json(result.summary)
    else:
        print_summary(result.summary, out_console())
    counts, folder = result.summary["requests"], result.folder
    simulated = human_seconds(result.summary["simulated_s"])
    typer.echo(f"{counts['arrived']:,} requests, {simulated}, played in {took_s:.1f} s", err=True)
    typer.echo(f"run:    {folder.path}", err=True)
    if folder.has("report.html"):
        typer.echo(f"report: {folder.path / 'report.html'}", err=True)
    if result.partial:
        typer.echo("stopped by Ctrl-C: what was played until then is saved and measured", err=True)
