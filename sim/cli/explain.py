"""`sim explain`: one request's life."""

from __future__ import annotations

from typing import Annotated

import typer

from sim.cli.options import Json, RunPath
from sim.cli.output import print_json


def explain(
    run: RunPath,
    request: Annotated[int, typer.Option("--request", metavar="N", help="Its number, from 0.")],
    json: Json = False,
) -> None:
    """Tell the life of one request: where it was, what it waited for, what its time went into.

    [bold]Example[/bold]

      sim explain runs/first-run-001 --request 17
    """
    from dataclasses import asdict

    from sim.record.run_folder import RunFolder
    from sim.report.explain import explain, life_of

    folder = RunFolder.open(run)
    if json:
        print_json(asdict(life_of(folder, request)))
    else:
        typer.echo(explain(folder, request))
