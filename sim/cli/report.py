"""`sim report`: the page of a run, written anew."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from sim.cli.options import RunPath


def report(
    run: RunPath,
    csv: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Also write all tables as CSV files here.")
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Where the page goes.", show_default="RUN/report.html"),
    ] = None,
) -> None:
    """Write the HTML report of a run; open it with any browser, it needs nothing else.

    [bold]Examples[/bold]

      sim report runs/first-run-001

      sim report runs/first-run-001 --out page.html --csv tables
    """
    from sim.measure.export import export_csv
    from sim.measure.summary import measure
    from sim.record.run_folder import RunFolder
    from sim.report.html import render, write_report

    folder = RunFolder.open(run)
    if not folder.has("summary.json"):
        measure(folder)
    typer.echo(write_report(folder) if out is None else _written(out, render(folder)))
    if csv is not None:
        for path in export_csv(folder, csv):
            typer.echo(path)


def _written(path: Path, text: str) -> Path:
    from sim.errors import ScenarioError

    try:
        path.write_text(text, encoding="utf-8", newline="\n")
    except OSError as error:
        raise ScenarioError(
            f"--out '{path}' cannot be written ({error.strerror}); name another file"
        ) from error
    return path
