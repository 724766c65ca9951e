"""Published loops of reinforcement learning, ours beside them.

python experiments/004-rl-loops/reproduce.py              plays all of it and prints the table
python experiments/004-rl-loops/reproduce.py --only verl  one chapter
python experiments/004-rl-loops/reproduce.py --write      and writes results.csv and the tables of
                                                          README.md
"""

from __future__ import annotations

import argparse
import csv
import importlib
import os
import sys
import time
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from types import ModuleType

os.environ.setdefault("OMP_NUM_THREADS", "1")
HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
sys.path[:0] = [str(HERE), str(ROOT)]

from play import Played, Run, play_all  # noqa: E402
from rich.console import Console  # noqa: E402
from rich.progress import track  # noqa: E402
from rich.table import Table  # noqa: E402

CHAPTERS = ("nemo", "performance", "verl", "areal", "rollpacker", "syncs", "others")
"""Modules with `RUNS` and `rows(played)`."""
RESULTS, README = HERE / "results.csv", HERE / "README.md"
BEGIN, END = "<!-- results: written by reproduce.py -->\n", "<!-- end of results -->\n"
SHOWN = ("id", "what", "theirs", "ours", "ratio", "tolerance", "verdict")
VERDICTS = ("within", "outside", "predicted", "input", "not modelled")

Cells = dict[str, str]


def computed(chapters: Iterable[ModuleType], console: Console) -> list[Cells]:
    """The rows of some chapters as they are printed; every run is played once."""
    modules = list(chapters)
    runs = list(dict.fromkeys(run for m in modules for run in m.RUNS.values()))
    played: dict[Run, Played] = {}
    for run, result in track(play_all(runs), "playing", len(runs), console=console, transient=True):
        played[run] = result
    return [cells for m in modules for cells in rows_of(m, played)]


def rows_of(module: ModuleType, played: dict[Run, Played]) -> list[Cells]:
    """The rows of one chapter."""
    by_name = {name: played[run] for name, run in module.RUNS.items()}
    return [row.cells() for row in module.rows(by_name)]


def chapters(names: Iterable[str] = CHAPTERS) -> list[ModuleType]:
    """The modules of these names."""
    return [importlib.import_module(name) for name in names]


def read() -> list[Cells]:
    """The rows as they were written."""
    with RESULTS.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def readme_block(rows: list[Cells]) -> str:
    """The generated part of README.md."""
    systems = [*dict.fromkeys(r["system"] for r in rows)]
    counts = Counter((r["system"], r["verdict"]) for r in rows)
    lines = _head(("system", *VERDICTS))
    for system in systems:
        lines.append(_line([system, *(str(counts[system, v]) for v in VERDICTS)]))
    total = Counter(r["verdict"] for r in rows)
    lines.append(_line(["all", *(str(total[v]) for v in VERDICTS)]))
    for system in systems:
        mine = [r for r in rows if r["system"] == system]
        lines += ["", f"### {system}", "", *_head(SHOWN)]
        lines += [_line([r[k] for k in SHOWN]) for r in mine]
        lines += ["", *_notes(mine)]
    return "\n".join(lines) + "\n"


def _head(keys: Iterable[str]) -> list[str]:
    names = list(keys)
    return [_line(names), "|" + "---|" * len(names)]


def _line(cells: list[str]) -> str:
    return f"| {' | '.join(c.replace('|', '/') for c in cells)} |"


def _notes(rows: list[Cells]) -> list[str]:
    """Source and assumptions of a system once; causes row by row."""
    lines = [f"- Source: {text}" for text in dict.fromkeys(r["source"] for r in rows)]
    lines += [f"- Assumed: {text}" for text in dict.fromkeys(r["assumed"] for r in rows) if text]
    by_cause: dict[str, list[str]] = {}
    for r in rows:
        if r["cause"]:
            by_cause.setdefault(r["cause"], []).append(r["id"])
    return lines + [f"- {', '.join(ids)}: {cause}" for cause, ids in by_cause.items()]


def write(rows: list[Cells]) -> None:
    """The files that hold the results."""
    with RESULTS.open("w", encoding="utf-8", newline="") as file:
        table = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        table.writeheader()
        table.writerows(rows)
    text = README.read_text(encoding="utf-8")
    before, rest = text.split(BEGIN)
    _, after = rest.split(END)
    README.write_text(before + BEGIN + readme_block(rows) + END + after, encoding="utf-8")


def show(rows: list[Cells], console: Console) -> None:
    """On the terminal."""
    colours = dict(zip(VERDICTS, ("green", "red", "cyan", "dim", "yellow"), strict=True))
    table = Table(*SHOWN)
    for r in rows:
        verdict = f"[{colours[r['verdict']]}]{r['verdict']}[/]"
        table.add_row(*(r[k] for k in SHOWN[:-1]), verdict)
    console.print(table)
    total = Counter(r["verdict"] for r in rows)
    console.print(", ".join(f"{n} {verdict}" for verdict, n in total.items()))


def main() -> None:
    """Play, print, and write where asked."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", choices=CHAPTERS, help="one chapter")
    parser.add_argument("--write", action="store_true", help="write the files of results")
    wanted = parser.parse_args()
    begun = time.perf_counter()
    modules = chapters([wanted.only] if wanted.only else CHAPTERS)
    rows = computed(modules, Console(stderr=True))
    if wanted.write and wanted.only:
        kept = {r["system"] for r in rows}
        rows = [*(r for r in read() if r["system"] not in kept), *rows]
    show(rows, Console())
    if wanted.write:
        write(rows)
    print(f"{time.perf_counter() - begun:.0f} s", file=sys.stderr)


if __name__ == "__main__":
    main()
