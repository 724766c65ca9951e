"""Published step times, memory and throughput, ours beside them.

python experiments/002-step-times/reproduce.py            prints the table
python experiments/002-step-times/reproduce.py --write    and writes results.csv, the tables of
                                                          README.md and docs/published.md
"""

from __future__ import annotations

import argparse
import csv
import os
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
sys.path[:0] = [str(HERE), str(ROOT)]

import anchors  # noqa: E402
import disaggregation  # noqa: E402
import experts  # noqa: E402
import kernels  # noqa: E402
import layouts  # noqa: E402
import older  # noqa: E402
import overlaps  # noqa: E402
import sparse  # noqa: E402
from rich.console import Console  # noqa: E402
from rich.progress import track  # noqa: E402
from rich.table import Table  # noqa: E402
from row import Row  # noqa: E402

Rows = Callable[[], Iterator[Row]]
QUICK: tuple[Rows, ...] = (
    kernels.formats,
    kernels.efficiency,
    kernels.collectives,
    sparse.rows,
    layouts.helix,
    layouts.mapping,
    overlaps.operations,
    older.rows,
    anchors.latency,
)
"""Chapters that take a second or less."""
SLOW: tuple[Rows, ...] = (
    overlaps.engines,
    experts.rows,
    anchors.offline,
    anchors.ablations,
    disaggregation.rows,
)
RESULTS, README = HERE / "results.csv", HERE / "README.md"
PAGE = ROOT / "docs" / "published.md"
BEGIN, END = "<!-- results: written by reproduce.py -->\n", "<!-- end of results -->\n"
COMMAND = "python experiments/002-step-times/reproduce.py --write"

Cells = dict[str, str]


def computed(chapters: Iterable[Rows]) -> list[Cells]:
    """The rows of some chapters as they are printed."""
    return [row.cells() for rows in chapters for row in rows()]


def read() -> list[Cells]:
    """The rows as they were written."""
    with RESULTS.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def by_chapter(rows: list[Cells]) -> list[str]:
    """Verdicts by chapter, as lines of a Markdown table."""
    lines = ["| chapter | within | outside | not modelled |", "|---|---|---|---|"]
    verdicts = ("within", "outside", "not modelled")
    names = [*dict.fromkeys(r["chapter"] for r in rows)]
    counts = Counter((r["chapter"], r["verdict"]) for r in rows)
    lines += [f"| {n} | {' | '.join(str(counts[n, v]) for v in verdicts)} |" for n in names]
    total = Counter(r["verdict"] for r in rows)
    return [*lines, f"| all | {' | '.join(str(total[v]) for v in verdicts)} |"]


def misses(rows: list[Cells]) -> list[str]:
    """What is not within its tolerance, and why, as lines of a Markdown table."""
    keys = ("id", "set-up", "theirs", "ours", "ratio", "verdict", "cause")
    return _table([r for r in rows if r["verdict"] != "within"], keys)


def _table(rows: list[Cells], keys: tuple[str, ...]) -> list[str]:
    head = [f"| {' | '.join(keys)} |", "|" + "---|" * len(keys)]
    return head + [f"| {' | '.join(r[k].replace('|', '/') for k in keys)} |" for r in rows]


def readme_block(rows: list[Cells]) -> str:
    """The generated part of README.md."""
    return "\n".join([*by_chapter(rows), "", *misses(rows), ""])


def page(rows: list[Cells]) -> str:
    """docs/published.md."""
    lines = [
        "# Published figures, ours beside them",
        "",
        f"Written by `{COMMAND}`; do not edit. Set-ups, and what the misses have in common: "
        "[experiments/002-step-times](../experiments/002-step-times/README.md).",
        "",
        *by_chapter(rows),
        "",
        "Where the source says *fitted to*, the row shows how well a law holds what it was "
        "made from; "
        "all others are predictions.",
    ]
    keys = ("id", "set-up", "theirs", "ours", "ratio", "tolerance", "verdict")
    for chapter in dict.fromkeys(r["chapter"] for r in rows):
        mine = [r for r in rows if r["chapter"] == chapter]
        lines += ["", f"## {chapter}", "", *_table(mine, keys), "", *_notes(mine)]
    return "\n".join(lines) + "\n"


def _notes(rows: list[Cells]) -> list[str]:
    """Sources and assumptions of a chapter, each once, with the rows that they belong to."""
    lines = []
    for key, word in (("source", "Source"), ("assumed", "Assumed")):
        found: dict[str, list[str]] = {}
        for r in rows:
            if r[key]:
                found.setdefault(r[key], []).append(r["id"])
        for text, ids in found.items():
            lines.append(f"- {word}{'' if len(ids) == len(rows) else f' ({_ids(ids)})'}: {text}")
    return lines


def _ids(ids: list[str]) -> str:
    return ", ".join(ids) if len(ids) <= 6 else f"{', '.join(ids[:5])} and {len(ids) - 5} more"


def write(rows: list[Cells]) -> None:
    """The files that hold the results."""
    with RESULTS.open("w", encoding="utf-8", newline="") as file:
        table = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        table.writeheader()
        table.writerows(rows)
    PAGE.write_text(page(rows), encoding="utf-8")
    text = README.read_text(encoding="utf-8")
    before, rest = text.split(BEGIN)
    _, after = rest.split(END)
    README.write_text(before + BEGIN + readme_block(rows) + END + after, encoding="utf-8")


def show(rows: list[Cells]) -> None:
    """On the terminal."""
    colours = {"within": "green", "outside": "red", "not modelled": "yellow"}
    table = Table("id", "set-up", "theirs", "ours", "ratio", "tolerance", "verdict")
    for r in rows:
        verdict = f"[{colours[r['verdict']]}]{r['verdict']}[/]"
        cells = [r[k] for k in ("id", "set-up", "theirs", "ours", "ratio", "tolerance")]
        table.add_row(*cells, verdict)
    console = Console()
    console.print(table)
    total = Counter(r["verdict"] for r in rows)
    console.print(", ".join(f"{n} {verdict}" for verdict, n in total.items()))


def main() -> None:
    """Compute, print, and write where asked."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--write", action="store_true", help="write the files of results")
    wanted = parser.parse_args()
    begun = time.perf_counter()
    chapters = track(QUICK + SLOW, "computing", console=Console(stderr=True), transient=True)
    rows = computed(chapters)
    show(rows)
    if wanted.write:
        write(rows)
    print(f"{time.perf_counter() - begun:.0f} s", file=sys.stderr)


if __name__ == "__main__":
    main()
