"""Published loops of reinforcement learning, ours beside them.

python experiments/004-rl-loops/reproduce.py              plays all of it and prints the table
python experiments/004-rl-loops/reproduce.py --only verl  one chapter
python experiments/004-rl-loops/reproduce.py --write      and writes runs.csv, results.csv and the
                                                          tables of README.md
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

from play import Played, play_all  # noqa: E402
from rich.console import Console  # noqa: E402
from rich.progress import track  # noqa: E402
from rich.table import Table  # noqa: E402

CHAPTERS = ("nemo", "performance", "verl", "areal", "rollpacker", "syncs", "others")
"""Modules with `RUNS` and `rows(played)`."""
RUNS, RESULTS, README = HERE / "runs.csv", HERE / "results.csv", HERE / "README.md"
BEGIN, END = "<!-- results: written by reproduce.py -->\n", "<!-- end of results -->\n"
SHOWN = ("id", "what", "theirs", "ours", "ratio", "tolerance", "verdict")
VERDICTS = ("within", "outside", "predicted", "input", "not modelled")

Cells = dict[str, str]


def played(modules: Iterable[ModuleType], console: Console) -> list[Cells]:
    """Every run of some chapters once: a line of runs.csv each."""
    named = [(m.__name__, name, run) for m in modules for name, run in m.RUNS.items()]
    todo = list(dict.fromkeys(run for *_, run in named))
    ended = track(play_all(todo), "playing", len(todo), console=console, transient=True)
    results = dict(ended)
    return [
        {"chapter": chapter, "run": name} | results[run].cells() | {"command": run.command}
        for chapter, name, run in named
    ]


def rows_of(module: ModuleType, runs: Iterable[Cells]) -> list[Cells]:
    """The rows of one chapter, made from its runs."""
    mine = {r["run"]: Played.of(r) for r in runs if r["chapter"] == module.__name__}
    return [row.cells() for row in module.rows(mine)]


def chapters(names: Iterable[str] = CHAPTERS) -> list[ModuleType]:
    """The modules of these names."""
    return [importlib.import_module(name) for name in names]


def read(path: Path) -> list[Cells]:
    """A table as it was written."""
    with path.open(encoding="utf-8", newline="") as file:
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


def write(runs: list[Cells], rows: list[Cells]) -> None:
    """The files that hold the results."""
    for path, lines in ((RUNS, runs), (RESULTS, rows)):
        with path.open("w", encoding="utf-8", newline="") as file:
            table = csv.DictWriter(file, list(lines[0]), lineterminator="\n")
            table.writeheader()
            table.writerows(lines)
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
    runs = played(chapters([wanted.only] if wanted.only else CHAPTERS), Console(stderr=True))
    if wanted.only and wanted.write:
        others = [r for r in read(RUNS) if r["chapter"] != wanted.only] if RUNS.exists() else []
        runs = sorted([*others, *runs], key=lambda r: CHAPTERS.index(r["chapter"]))
    there = {r["chapter"] for r in runs}
    rows = [r for m in chapters(c for c in CHAPTERS if c in there) for r in rows_of(m, runs)]
    show(rows, Console())
    if wanted.write:
        write(runs, rows)
    print(f"{time.perf_counter() - begun:.0f} s", file=sys.stderr)


if __name__ == "__main__":
    main()
