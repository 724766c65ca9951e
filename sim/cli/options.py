"""Arguments that several commands share, and the scenario that they name."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from sim.scenario.scenario import Scenario

ScenarioFile = Annotated[Path, typer.Argument(help="A YAML file.", metavar="SCENARIO")]
RunPath = Annotated[Path, typer.Argument(help="A folder that `sim run` wrote.", metavar="RUN")]
Set = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="PATH=VALUE",
        help="Change a setting of the file; may be repeated. VALUE is YAML.",
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON on stdout, and nothing else.")]


def load_scenario(
    file: Path, changes: list[str] | None, seed: int | None = None, until: str | None = None
) -> Scenario:
    """The scenario of a file with `--set`, then `--seed` and `--until`, in this order."""
    from sim.scenario.scenario import Scenario

    overrides = list(changes or [])
    if seed is not None:
        overrides.append(f"seed={seed}")
    if until is not None:
        overrides.append(f"until_s={_seconds(until)!r}")
    return Scenario.load(file, overrides)


def _seconds(text: str) -> float:
    from sim.errors import ScenarioError
    from sim.units import parse

    try:
        seconds = parse(text, "s")
    except ValueError as error:
        raise ScenarioError(f"--until: {error}") from None
    if seconds <= 0:
        raise ScenarioError(f"--until is {text!r}; write a time after the start, such as '30 s'")
    return seconds
