"""`sim list`: what there is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from sim.cli.options import Json
from sim.cli.output import out_console, print_json

if TYPE_CHECKING:
    from rich.table import Table

Row = dict[str, Any]


def list_(
    kind: Annotated[
        str | None,
        typer.Argument(help="gpus, models, topologies, routers, …; all kinds when left out."),
    ] = None,
    json: Json = False,
) -> None:
    """List what a scenario may name: GPUs, models, machines, and policies of every kind.

    [bold]Examples[/bold]

      sim list

      sim list gpus

      sim list routers --json
    """
    from sim.scenario.listing import kinds, rows_of

    if kind is None:
        found = kinds()
        if json:
            print_json(found)
            return
        table = _table("kind", "where it is named")
        for name, place in found.items():
            table.add_row(name, place)
        out_console().print(table)
        return
    rows = rows_of(kind)
    if json:
        print_json(rows)
        return
    draw = {"gpus": _gpus, "models": _models, "formats": _formats, "topologies": _topologies}
    draw.get(kind, _policies)(rows)


def _table(*heads: str) -> Table:
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="dim")
    for i, head in enumerate(heads):
        table.add_column(head, style="bold" if i == 0 else "", no_wrap=i == 0, overflow="fold")
    return table


def _policies(rows: list[Row]) -> None:
    """Names with meanings, and their settings under them."""
    table = _table("name", "setting", "default", "meaning")
    for row in rows:
        table.add_row(row["name"], "", "", row["meaning"])
        for name, setting in row["settings"].items():
            default = "needed" if setting["needed"] else _shown(setting["default"])
            table.add_row("", name, default, setting["meaning"])
    out_console().print(table)


def _shown(default: object) -> str:
    if default is None:
        return "none"
    return str(default).lower() if isinstance(default, bool) else str(default)


def _gpus(rows: list[Row]) -> None:
    """Figures, then where they are from; `*` marks guesses."""
    from sim.units import human_bytes

    table = _table("GPU", "architecture", "memory", "memory/s", "bf16 FLOP/s", "NVLink/s", "power")
    for row in rows:
        table.add_row(
            row["name"],
            row["architecture"],
            human_bytes(row["hbm_bytes"]),
            human_bytes(row["hbm_bytes_per_s"]),
            f"{row['flops_per_s'].get('bf16', 0) / 1e12:,.0f} T",
            human_bytes(row["scale_up_bytes_per_s"] or 0),
            f"{row['power_w']:,.0f} W",
        )
    out_console().print(table)
    _sources({row["name"]: row["sources"] for row in rows})


def _models(rows: list[Row]) -> None:
    table = _table("model", "parameters", "active", "layers", "attention", "experts", "context")
    for row in rows:
        table.add_row(
            row["name"],
            f"{row['params'] / 1e9:,.1f} B",
            f"{row['active_params'] / 1e9:,.1f} B",
            str(row["layers"]),
            row["attention"],
            row["experts"] or "–",
            f"{row['max_context_tokens']:,}",
        )
    out_console().print(table)
    _sources({row["name"]: {"": row["source"]} for row in rows})


def _formats(rows: list[Row]) -> None:
    table = _table("format", "bits", "computes as", "source")
    for row in rows:
        table.add_row(row["name"], f"{row['bits']:g}", row["compute"], row["source"])
    out_console().print(table)


def _topologies(rows: list[Row]) -> None:
    table = _table("topology", "nodes", "GPUs", "meaning")
    for row in rows:
        gpus = f"{row['devices']} {' and '.join(row['gpus'])}"
        table.add_row(row["name"], str(row["nodes"]), gpus, row["meaning"])
    out_console().print(table)
    _sources({row["name"]: row["sources"] for row in rows})


def _sources(by_name: dict[str, dict[str, str]]) -> None:
    """Where the figures are from; figures of one source share a line."""
    console = out_console()
    console.print("\nSources", style="dim")
    for name, sources in by_name.items():
        figures: dict[str, list[str]] = {}
        for figure, source in sources.items():
            figures.setdefault(source, []).append(figure)
        for source, of in figures.items():
            named = f"{', '.join(of)}: " if any(of) else ""
            console.print(f"{name}  {named}{source}", markup=False)
