"""`sim explain`: one request's life."""

from __future__ import annotations

from typing import Annotated

import typer

from sim.cli.options import Json, RunPath
from sim.cli.output import print_json
from sim.errors import ScenarioError


def explain(
    run: RunPath,
    request: Annotated[
        int | None, typer.Option("--request", metavar="N", help="Its number, from 0.")
    ] = None,
    slowest: Annotated[
        str | None,
        typer.Option("--slowest", metavar="METRIC", help="The one with most ttft, tpot or e2e."),
    ] = None,
    json: Json = False,
) -> None:
    """Tell the life of one request: where it was, what it waited for, what its time went into.

    [bold]Example[/bold]

      sim explain runs/first-run-001 --request 17

      sim explain runs/first-run-001 --slowest ttft
    """
    from dataclasses import asdict

    from sim.record.run_folder import RunFolder
    from sim.report.explain import explain, life_of, slowest_of

    if (request is None) == (slowest is None):
        raise ScenarioError(
            "name one request: write --request N, or --slowest ttft, tpot or e2e, and not both"
        )
    folder = RunFolder.open(run)
    number = slowest_of(folder, slowest) if slowest is not None else request or 0
    if json:
        print_json(asdict(life_of(folder, number)))
    else:
        typer.echo(explain(folder, number))
