"""`sim split`: how GPUs are best divided between rollouts and trainer."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sim.cli.options import Json, ScenarioFile, Set, load_scenario
from sim.cli.output import out_console, print_json

if TYPE_CHECKING:
    from rich.console import Console

Rows = list[dict[str, Any]]


def split(
    scenario: ScenarioFile,
    changes: Set = None,
    engines: Annotated[
        str | None,
        typer.Option(
            metavar="N,N,…",
            help="Numbers of rollout engines to try.",
            show_default="up to nine, spread",
        ),
    ] = None,
    workers: Annotated[int, typer.Option(min=1, help="Splits played at a time.")] = 2,
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Run folder of the best split, with a figure of all.",
            show_default="the next runs/NAME-NNN",
        ),
    ] = None,
    json: Json = False,
) -> None:
    """Divide a loop's GPUs between rollouts and trainer in several ways, play each, and keep the
    one that trains on most samples per second.

    The number of GPUs, the engines' layout and that of a trainer's replica stay as they are.

    [bold]Examples[/bold]

      sim split experiments/005-first-loop/asynchronous.yaml

      sim split loop.yaml --engines 4,8,12 --set rl.steps=10 --json
    """
    from sim import api
    from sim.cli.progress import Bar
    from sim.report.html import write_report
    from sim.scenario.planning import plan
    from sim.search.split import Split, best_of, play_splits, splits, with_split

    loaded = load_scenario(scenario, changes)
    made = plan(loaded)
    pool = made.pools[0].name
    found = splits(made, _numbers(engines))
    rows: Rows = []
    with Bar() as bar:
        for row in play_splits(loaded, pool, found, workers):
            rows.append(row)
            bar.doing(f"{len(rows)} of {len(found)} splits played")
        best = best_of(rows)
        chosen = Split(
            best["engines"], best["rollout_gpus"], best["trainer_dp"], best["trainer_gpus"]
        )
        result = api.run(with_split(loaded, pool, chosen), out=out, progress=bar, doing=bar.doing)
        played = [r for r in rows if "refused" not in r]
        result.folder.write_json("split.json", played)
        write_report(result.folder)
    if json:
        print_json({"splits": rows, "best": best})
    else:
        _print(rows, best, out_console())
    typer.echo(f"run of the best: {result.folder.path}", err=True)
    typer.echo(f"report:          {result.folder.path / 'report.html'}", err=True)


def _numbers(text: str | None) -> list[int] | None:
    from sim.errors import ScenarioError

    if text is None:
        return None
    parts = [part.strip() for part in text.split(",") if part.strip()]
    if not parts or not all(part.isdecimal() and int(part) > 0 for part in parts):
        raise ScenarioError(
            f"--engines: '{text}' is no list of numbers above 0; write for example 4,8,12"
        )
    return sorted({int(part) for part in parts})


def _print(rows: Rows, best: dict[str, Any], console: Console) -> None:
    from rich.table import Table

    from sim.units import human_seconds

    table = Table(box=None, pad_edge=False)
    for name in ("rollout", "trainer", "step", "generation", "training", "waits", "staleness",
                 "rollouts idle", "accepted samples/s"):  # fmt: skip
        table.add_column(name, justify="right")
    for row in rows:
        gpus = (f"{row['rollout_gpus']:,} GPUs", f"{row['trainer_gpus']:,} GPUs")
        if "refused" in row:
            table.add_row(*gpus, "", "", "", "", "", "", "refused", style="dim")
            continue
        table.add_row(
            *gpus,
            *(human_seconds(row[k]) for k in ("step_s", "generation_s", "train_s", "wait_s")),
            f"{row['staleness']:.2f}",
            f"{100 * row['rollout_idle_share']:.1f} %",
            f"{row['accepted_samples_per_s']:.4g}",
            style="bold" if row is best else None,
        )
    console.print(table)
    for row in rows:
        if row["idle_gpus"]:
            console.print(
                f"{row['rollout_gpus']} + {row['trainer_gpus']} GPUs: {row['idle_gpus']} more stay "
                "idle, which no engine or replica fits on",
                style="dim", markup=False,
            )  # fmt: skip
        if "refused" in row:
            console.print(
                f"{row['rollout_gpus']} + {row['trainer_gpus']} GPUs: {row['refused']}",
                style="dim", markup=False,
            )  # fmt: skip
