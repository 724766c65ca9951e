"""The command line: `sim`, one file a command. Nothing that simulates is imported until a command
needs it, so that `--help` answers at once."""

from __future__ import annotations

import sys
from collections.abc import Callable

import typer

from sim.cli.calibrate import calibrate
from sim.cli.check import check
from sim.cli.estimate import estimate
from sim.cli.explain import explain
from sim.cli.failures import INTERNAL, Sentences, tell
from sim.cli.list import list_
from sim.cli.report import report
from sim.cli.run import run
from sim.cli.schema import schema
from sim.cli.split import split
from sim.cli.trace import trace
from sim.cli.validate import validate

COMMANDS: dict[str, Callable[..., None]] = {
    "run": run,
    "estimate": estimate,
    "check": check,
    "report": report,
    "explain": explain,
    "trace": trace,
    "split": split,
    "validate": validate,
    "calibrate": calibrate,
    "list": list_,
    "schema": schema,
}


def make_app() -> typer.Typer:
    """The application with all its commands."""
    app = typer.Typer(
        cls=Sentences,
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
        rich_markup_mode="rich",
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.callback()(_options)
    for name, command in COMMANDS.items():
        app.command(name)(command)
    return app


def main() -> None:
    """Entry point of `sim` and `python -m sim`."""
    try:
        make_app()(prog_name="sim")
    except Exception as error:
        sys.exit(tell(error, INTERNAL))


def _version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        typer.echo(f"sim {version('llm-cluster-sim')}")
        raise typer.Exit


def _options(
    version: bool = typer.Option(
        False, "--version", help="Print the version.", is_eager=True, callback=_version
    ),
) -> None:
    """Simulate clusters that serve large language models.

    A scenario is a YAML file: a workload, a model, a machine, a way of serving.

    Begin with:  sim run experiments/001-first-run/aggregated.yaml
    """
