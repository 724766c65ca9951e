"""`sim explain`: one request's life, or one sample's."""

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
    sample: Annotated[
        int | None,
        typer.Option("--sample", metavar="N", help="A sample of a loop, by its number, from 0."),
    ] = None,
    json: Json = False,
) -> None:
    """Tell the life of one request, or of one sample of a reinforcement-learning loop: where it
    was, what it waited for, what its time went into.

    [bold]Example[/bold]

      sim explain runs/first-run-001 --request 17

      sim explain runs/first-run-001 --slowest ttft

      sim explain runs/first-loop-001 --sample 0
    """
    from dataclasses import asdict

    from sim.record.run_folder import RunFolder
    from sim.report.explain import explain, life_of, slowest_of
    from sim.report.explain_sample import explain_sample, sample_of

    if [request, slowest, sample].count(None) != 2:
        raise ScenarioError(
            "name one request or sample: write --request N, or --slowest ttft, tpot or e2e, or "
            "--sample N, and no two of them"
        )
    folder = RunFolder.open(run)
    if sample is not None and json:
        print_json(sample_of(folder, sample))
    elif sample is not None:
        typer.echo(explain_sample(folder, sample))
    else:
        number = slowest_of(folder, slowest) if slowest is not None else request or 0
        if json:
            print_json(asdict(life_of(folder, number)))
        else:
            typer.echo(explain(folder, number))
