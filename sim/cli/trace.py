"""`sim trace`: a run for ui.perfetto.dev."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from sim.cli.options import RunPath


def trace(
    run: RunPath,
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Where it goes; gzipped if the name ends in .gz.",
            show_default="RUN/trace.json.gz",
        ),
    ] = None,
) -> None:
    """Write a run as a trace: every step and transfer on a time line.

    Open it at https://ui.perfetto.dev or in chrome://tracing.

    [bold]Examples[/bold]

      sim trace runs/first-run-001

      sim trace runs/first-run-001 --out trace.json
    """
    from sim.record.run_folder import RunFolder
    from sim.report.perfetto import write_trace

    folder = RunFolder.open(run)
    path = out or folder.path / "trace.json.gz"
    events = write_trace(folder, path)
    typer.echo(path)
    typer.echo(f"{events:,} events; open it at https://ui.perfetto.dev", err=True)
