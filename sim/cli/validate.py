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
VERDICTS = {True: ("green", ", met"), False: ("red", ", not met"), None: ("", "")}
"""Of a target: colour of the line, words behind it."""
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
    kind: Annotated[
        str, typer.Argument(metavar="KIND", help="ops, steps, points, run, spec, or all.")
    ],
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
        float | None,
        typer.Option(
            min=0, help="Of ops, shorter rows are groups of their own.", show_default="20"
        ),
    ] = None,
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

    shortest_s = _shortest_s(kind, min_us)
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
        comparison = validate(kind, file, options, shortest_s)
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
    _check_reached(comparison, file)


def _shortest_s(kind: str, min_us: float | None) -> float:
    """Seconds under which kernels are apart; ScenarioError where there are none."""
    from sim.errors import ScenarioError
    from sim.fidelity.validate import EVERYTHING, MIN_S, SPLIT

    if min_us is None:
        return MIN_S
    if kind not in (SPLIT, EVERYTHING):
        raise ScenarioError(f"--min-us has no effect on kind '{kind}'; leave it out")
    return min_us / 1e6


def _check_reached(comparison: Comparison, file: Path) -> None:
    """ScenarioError when nothing could be compared."""
    from sim.errors import ScenarioError
    from sim.fidelity.groups import outside

    if (comparison.rows["outside"] == "").any():
        return
    counts = outside(comparison)
    why = max(counts, key=lambda reason: counts[reason]) if counts else "it has none of that GPU"
    raise ScenarioError(f"no row of '{file}' could be compared: {why}")


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
    from sim.fidelity.groups import outside
    from sim.fidelity.page import percent
    from sim.fidelity.targets import target_of

    shown = _table("group", "rows", "MAPE", "median", "p90", "bias", "outside", "target")
    for g in groups:
        target = target_of(g)
        met = target.met_by(g) if target else None
        colour, verdict = VERDICTS[met]
        shares = (percent(g.mape), percent(g.median_ape), percent(g.p90_ape))
        shown.add_row(
            g.group, f"{g.rows:,}", *shares, percent(g.bias, signed=True),
            f"{g.outside:,}" if g.outside else "", target.text + verdict if target else "",
            style=colour,
        )  # fmt: skip
    console.print(shown)
    _print_worst(comparison, console)
    for why, count in outside(comparison).items():
        rows = "1 row" if count == 1 else f"{count:,} rows"
        console.print(f"outside: {rows}: {why}", style="yellow", markup=False)


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
