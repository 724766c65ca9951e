"""`sim calibrate`: figures of kernels from measured tables, or from one's own GPU."""

from __future__ import annotations

from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sim.cli.options import Json
from sim.cli.output import out_console, print_json
from sim.cli.progress import PATIENCE_S, Bar

if TYPE_CHECKING:
    from datetime import date

    from rich.console import Console
    from rich.table import Table

    from sim.fidelity.calibrate import Outcome
    from sim.fidelity.measure_gpu import Measured

OUT = Path("calibrations")
Row = dict[str, Any]


class _StepsBar(Bar):
    """A bar that counts tables or shapes."""

    def steps(self, done: int, of: int, what: str) -> None:
        """So many are done; `what` is the last."""
        if self._shows and monotonic() - self._since_s > PATIENCE_S:
            bar, task = self._bar()
            shown = "/".join(Path(what).parts[-3:])
            bar.update(task, completed=done, total=of, text=f"{done:,} of {of:,}, {shown}")


def calibrate(
    tables: Annotated[
        Path | None,
        typer.Argument(metavar="TABLES", help="A folder of SYSTEM/ENGINE-VERSION/TABLE.csv[.gz]."),
    ] = None,
    out: Annotated[
        Path, typer.Option(metavar="FOLDER", help="Where GPU/ENGINE.yaml files go.")
    ] = OUT,
    gpu: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Only this GPU; or whose tables, if no folder says it."),
    ] = None,
    engine: Annotated[
        str | None,
        typer.Option(metavar="NAME-VERSION", help="Only this engine; or whose tables."),
    ] = None,
    workers: Annotated[int, typer.Option(min=1, help="Processes that fit.")] = 1,
    date: Annotated[
        str | None,
        typer.Option(metavar="YYYY-MM-DD", help="Date of the fit.", show_default="today"),
    ] = None,
    source: Annotated[
        str | None,
        typer.Option(metavar="TEXT", help="Where the tables are from, kept in the files."),
    ] = None,
    measure: Annotated[
        bool, typer.Option("--measure", help="Measure the GPU of this machine, then fit that.")
    ] = False,
    quick: Annotated[
        bool, typer.Option("--quick", help="With --measure: a tenth of the shapes.")
    ] = False,
    json: Json = False,
) -> None:
    """Fit figures of kernels to measured tables, or to this machine's GPU. See docs/calibrate.md.

    The error is that of a fit without some of the shapes, on those. Scenarios use the result with
    `timer: {calibrated: {calibrations: FOLDER}}`, everything else with SIM_CALIBRATIONS=FOLDER.

    [bold]Examples[/bold]

      sim calibrate ops

      sim calibrate ops --gpu h100 --engine trtllm-1.3 --out mine --json

      sim calibrate --measure --quick
    """
    from sim.fidelity.calibrate import Options
    from sim.fidelity.calibrate import calibrate as fit
    from sim.fidelity.ops_folder import Only

    _check(tables, measure, quick, engine, source)
    shipped, day = _is_shipped(out), _day(date)
    measured = _measured(out, gpu, quick, day) if measure else None
    bar = _StepsBar()
    with bar:
        options = Options(
            only=Only(gpu, engine),
            workers=workers,
            source=measured.source if measured else source,
            day=day,
            progress=bar.steps,
        )
        outcome = fit(measured.tables if measured else tables or Path(), out, options)
    _told(outcome, shipped)
    published = _published(measured) if measured else []
    if json:
        print_json(
            {"fitted": outcome.rows(), "published": published} if measured else outcome.rows()
        )
        return
    _print(outcome.rows(), out_console())
    if measured is not None:
        _print_measured(measured, published, out_console())


def _check(
    tables: Path | None, measure: bool, quick: bool, engine: str | None, source: str | None
) -> None:
    """Refuse what does not go together."""
    from sim.errors import ScenarioError

    if measure and tables is not None:
        raise ScenarioError(
            f"--measure makes its own tables; leave out '{tables}', or --measure to fit that"
        )
    if measure and (engine or source):
        name = "--engine" if engine else "--source"
        raise ScenarioError(
            f"{name} is known with --measure: PyTorch on this machine; leave it out"
        )
    if not measure and tables is None:
        raise ScenarioError(
            "TABLES is missing: name a folder of measured tables, or measure this machine's GPU "
            "with --measure"
        )
    if quick and not measure:
        raise ScenarioError("--quick is for --measure; tables are always fitted whole")


def _day(text: str | None) -> date:
    from datetime import date

    from sim.errors import ScenarioError

    try:
        return date.today() if text is None else date.fromisoformat(text)
    except ValueError:
        raise ScenarioError(f"--date is '{text}'; write it as 2026-01-31") from None


def _is_shipped(out: Path) -> bool:
    """Whether these are the packaged calibrations; ScenarioError when nobody asked for that."""
    from sim.errors import ScenarioError
    from sim.perf.calibration import FOLDER

    if out.exists() and not out.is_dir():
        raise ScenarioError(f"--out '{out}' is a file; name a folder")
    shipped = out.resolve() == FOLDER.resolve()
    if shipped and out == OUT:
        raise ScenarioError(
            f"'{OUT}' here is the folder of the packaged calibrations; name it with its path after "
            "--out to replace them, or another folder"
        )
    return shipped


def _measured(out: Path, gpu: str | None, quick: bool, day: date) -> Measured:
    from sim.fidelity.measure_gpu import measure_gpu

    bar = _StepsBar()
    with bar:
        found = measure_gpu(out, gpu=gpu, quick=quick, day=day, progress=bar.steps)
    typer.echo(f"measured {found.name}: {found.about.parent}", err=True)
    return found


def _told(outcome: Outcome, shipped: bool) -> None:
    """What was written, on stderr."""
    for path in [p for p, _ in (*outcome.calibrations, *outcome.machines) if p is not None]:
        typer.echo(f"wrote {path}{' (packaged)' if shipped else ''}", err=True)
    for note in outcome.notes:
        typer.echo(f"note: {note}", err=True)


def _published(measured: Measured) -> list[Row]:
    from sim.fidelity.bench.published import against_published

    return against_published(measured.tables, measured.gpu)


def _print(rows: list[Row], console: Console) -> None:
    """Errors on shapes that were held out of the fit."""
    from sim.fidelity.page import percent

    heads = ("GPU", "engine", "kind", "variant", "rows", "MAPE", "median", "p90", "bias")
    shown = _table(4, *heads)
    for row in rows:
        names = (row["gpu"], row["engine"], row["kind"].replace("_", " "), row["variant"])
        if row["rows"] is None:
            shown.add_row(*names, "", "not judged: no shapes over 20 µs held out", "", "", "")
            continue
        shares = (percent(row[n]) for n in ("mape", "median_ape", "p90_ape"))
        shown.add_row(*names, f"{row['rows']:,}", *shares, percent(row["bias"], signed=True))
    console.print(shown)


def _print_measured(measured: Measured, published: list[Row], console: Console) -> None:
    """The device's own figures, and its times beside the published ones."""
    import json

    from sim.units import human_bytes, human_seconds

    about = json.loads(measured.about.read_text(encoding="utf-8"))
    peak = measured.gpu.hbm_bytes_per_s
    copied = about["copy_bytes_per_s"]
    launches = about["launches"]
    console.print(f"\n{measured.name} as {measured.gpu.name}", style="bold", markup=False)
    console.print(
        f"  copies {human_bytes(copied)}/s, {100 * copied / peak:.0f} % of the data sheet's "
        f"{human_bytes(peak)}/s"
    )
    for name, seconds in launches.items():
        console.print(f"  {name.removesuffix('_s').replace('_', ' ')} {human_seconds(seconds)}")
    if not published:
        console.print(f"  no published calibration of {measured.gpu.name} to compare with")
        return
    shown = _table(2, "measured ÷ published", "of", "rows", "median", "p10", "p90")
    for row in published:
        ratios = (f"{row[n]:.2f}" for n in ("median_ratio", "p10_ratio", "p90_ratio"))
        shown.add_row(row["group"], row["engine"], f"{row['rows']:,}", *ratios)
    console.print()
    console.print(shown)


def _table(words: int, *heads: str) -> Table:
    """`words`: columns of text, to the left of the numbers."""
    from rich.table import Table

    made = Table(box=None, pad_edge=False, header_style="dim")
    for i, head in enumerate(heads):
        made.add_column(head, justify="left" if i < words else "right", overflow="fold")
    return made
