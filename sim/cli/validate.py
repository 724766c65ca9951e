"""`sim validate`: predictions against measurements."""

from __future__ import annotations

from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Annotated

import typer

from sim.cli.options import Json, Set
from sim.cli.output import out_console, print_json
from sim.cli.progress import PATIENCE_S, Bar

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from sim.fidelity.comparison import Comparison
    from sim.fidelity.groups import Group

WORST = 5
LEFT = ("group", "worst rows", "row", "target")
"""Columns of text."""


class _RowsBar(Bar):
    """A bar that counts rows."""

    def rows(self, done: int, of: int) -> None:
        """So many of the rows of a file are done."""
        if self._shows and monotonic() - self._since_s > PATIENCE_S:
            bar, task = self._bar()
            bar.update(task, completed=done, total=of, text=f"{done:,} of {of:,} rows")


def validate(
    kind: Annotated[str, typer.Argument(metavar="KIND", help="ops, steps, points, run, or all.")],
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="Measurements, or a folder of them.")
    ],
    gpu: Annotated[
        str | None, typer.Option(metavar="NAME", help="GPU, where the path does not say.")
    ] = None,
    engine: Annotated[
        str | None,
        typer.Option(metavar="NAME-VERSION", help="Engine, where the path does not say."),
    ] = None,
    limit: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="At most N rows a file, evenly spread.")
    ] = None,
    workers: Annotated[int, typer.Option(min=1, help="Processes that play load points.")] = 1,
    min_us: Annotated[
        float, typer.Option(min=0, help="Of ops, shorter rows are groups of their own.")
    ] = 20.0,
    changes: Set = None,
    json: Json = False,
    html: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write a page with scatter plots.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write all rows, as CSV.")
    ] = None,
    page: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write the accuracy page, as Markdown.")
    ] = None,
) -> None:
    """Compare predictions with measurements, group by group. See docs/validate.md for the formats.

    [bold]Examples[/bold]

      sim validate ops h100_sxm/trtllm-1.3.0rc20/gemm.csv.gz --html gemm.html

      sim validate points silicon_points.csv --limit 50 --workers 2

      sim validate all measurements --page accuracy.md
    """
    from sim.fidelity.groups import summarise
    from sim.fidelity.kinds import Options
    from sim.fidelity.validate import validate

    bar = _RowsBar()
    with bar:
        options = Options(
            gpu=gpu,
            engine=engine,
            limit=limit,
            workers=workers,
            overrides=tuple(changes or ()),
            progress=bar.rows,
        )
        comparison = validate(kind, file, options, min_us / 1e6)
        groups = summarise(comparison)
        bar.doing("writing")
        _write(comparison, groups, f"{kind}: {file.name}", html, out)
        if page is not None:
            from sim.fidelity.accuracy import accuracy_page

            command = f"sim validate {kind} {file.resolve().name} --page {page.name}"
            _write_text(page, accuracy_page(groups, command))
    if json:
        print_json([g.plain() for g in groups])
    else:
        _print(comparison, groups, out_console())


def _write(
    comparison: Comparison, groups: list[Group], title: str, html: Path | None, out: Path | None
) -> None:
    """The files that were asked for."""
    if out is not None:
        _write_text(out, comparison.rows.assign(error=comparison.error()).to_csv(index=False))
    if html is not None:
        from importlib import resources

        from sim.fidelity.page import Look, render
        from sim.report.style import COLOURS, layout

        room = resources.files("sim.report")
        css, script = (room.joinpath(n).read_text("utf-8") for n in ("page.css", "page.js"))
        _write_text(html, render(title, comparison, groups, Look(css, script, COLOURS, layout)))


def _write_text(path: Path, text: str) -> None:
    from sim.errors import ScenarioError

    try:
        path.write_text(text, encoding="utf-8")
    except OSError as problem:
        raise ScenarioError(f"'{path}' cannot be written ({problem.strerror})") from None
    typer.echo(f"wrote {path}", err=True)


def _print(comparison: Comparison, groups: list[Group], console: Console) -> None:
    """Groups, worst rows, and why rows are outside."""
    from sim.fidelity.page import percent
    from sim.fidelity.targets import target_of

    shown = _table("group", "rows", "MAPE", "median", "p90", "bias", "outside", "target")
    for g in groups:
        target = target_of(g)
        met = target.met_by(g) if target else None
        colour = {True: "green", False: "red", None: ""}[met]
        shares = (percent(g.mape), percent(g.median_ape), percent(g.p90_ape))
        shown.add_row(
            g.group, f"{g.rows:,}", *shares, percent(g.bias, signed=True),
            f"{g.outside:,}" if g.outside else "", target.text if target else "",
            style=colour,
        )  # fmt: skip
    console.print(shown)
    _print_worst(comparison, console)
    reasons: dict[str, int] = {}
    for g in groups:
        for why, count in g.reasons.items() if not g.is_total else ():
            reasons[why] = reasons.get(why, 0) + count
    for why, count in reasons.items():
        console.print(f"outside: {count:,} rows: {why}", style="yellow", markup=False)


def _print_worst(comparison: Comparison, console: Console) -> None:
    from sim.fidelity.groups import worst
    from sim.units import human_seconds

    table = _table("worst rows", "row", "measured", "predicted")
    for r in worst(comparison, WORST):
        times = human_seconds(r.measured_s), human_seconds(r.predicted_s)
        table.add_row(r.group, r.what, *times, style="dim")
    if table.row_count:
        console.print()
        console.print(table)


def _table(*heads: str) -> Table:
    from rich.table import Table

    made = Table(box=None, pad_edge=False, header_style="dim")
    for head in heads:
        made.add_column(head, justify="left" if head in LEFT else "right", overflow="fold")
    return made
