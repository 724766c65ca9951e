"""Errors per group: what is printed, and which rows are worst."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pandas as pd

from sim.fidelity.comparison import Comparison

TOTAL = "all "
"""What the name of a total begins with."""

SMALL = " (under {:g} µs)"
"""What the name of a group of short rows ends in."""


@dataclass(frozen=True, slots=True)
class Group:
    """Errors of the rows of one group. With p predicted and m measured seconds of a row, its error
    is p/m − 1; `mape`, `median_ape` and `p90_ape` are mean, median and 90 % quantile of |p/m − 1|,
    `bias` is the mean of p/m − 1. None without rows to compare."""

    kind: str
    group: str
    rows: int
    """Rows that were compared."""
    mape: float | None
    median_ape: float | None
    p90_ape: float | None
    bias: float | None
    outside: int
    """Rows that the model cannot reach."""
    fitted: int
    """Of the rows compared, those to whose table the figures were fitted."""
    reasons: dict[str, int]
    """Why rows are outside → how many."""
    metric: str = ""
    """What the total that it is in is of."""

    @property
    def is_total(self) -> bool:
        """Whether it is all rows of a metric, which are in groups of their own too."""
        return self.group.startswith(TOTAL)

    @property
    def is_small(self) -> bool:
        """Whether it is of short rows."""
        return "(under " in self.group

    def plain(self) -> dict[str, Any]:
        """As `--json` prints it."""
        names = ("kind", "group", "rows", "mape", "median_ape", "p90_ape", "bias", "outside")
        return {name: asdict(self)[name] for name in names}


def split_small(comparison: Comparison, min_s: float) -> Comparison:
    """Rows measured under `min_s` in groups of their own: noise and launches rule them."""
    rows = comparison.rows.copy()
    small = rows["measured_s"] < min_s
    for column in ("group", "metric"):
        rows.loc[small, column] += SMALL.format(min_s * 1e6)
    return Comparison(rows)


def summarise(comparison: Comparison) -> list[Group]:
    """Every group in the order of the rows; then, where a metric has several groups, a total of it
    called `all METRIC`."""
    rows = comparison.rows.assign(error=comparison.error())
    found = [
        _group(str(kind), str(name), str(part["metric"].iloc[0]), part)
        for (kind, name), part in rows.groupby(["kind", "group"], sort=False)
    ]
    for (kind, metric), part in rows.groupby(["kind", "metric"], sort=False):
        if part["group"].nunique() > 1:
            found.append(_group(str(kind), f"{TOTAL}{metric}", str(metric), part))
    return found


def _group(kind: str, name: str, metric: str, part: pd.DataFrame) -> Group:
    reached = part[part["outside"] == ""]
    out = part.loc[part["outside"] != "", "outside"]
    error = reached["error"].to_numpy(dtype=float)
    ape = np.abs(error)
    some = len(error) > 0
    return Group(
        kind=kind,
        group=name,
        rows=len(error),
        mape=float(ape.mean()) if some else None,
        median_ape=float(np.median(ape)) if some else None,
        p90_ape=float(np.quantile(ape, 0.9)) if some else None,
        bias=float(error.mean()) if some else None,
        outside=len(out),
        fitted=int(reached["fitted"].sum()),
        reasons={str(k): int(v) for k, v in out.value_counts().items()},
        metric=metric,
    )


def outside(comparison: Comparison) -> dict[str, int]:
    """Why rows are outside → how many. A row of a file may have several times (TTFT and TPOT),
    which are outside together: it counts once."""
    rows = comparison.rows[comparison.rows["outside"] != ""]
    named = zip(rows["group"], rows["metric"], strict=True)
    of = [group.removesuffix(metric) for group, metric in named]
    row = ["outside", "kind", "file", "of", "what"]
    times = rows.assign(of=of).groupby([*row, "metric"], sort=False).size()
    counts = times.groupby(level=row, sort=False).max().groupby(level="outside", sort=False).sum()
    return {str(why): int(count) for why, count in counts.items()}


@dataclass(frozen=True, slots=True)
class Row:
    """One compared row."""

    group: str
    what: str
    measured_s: float
    predicted_s: float

    @property
    def factor(self) -> float:
        """predicted ÷ measured."""
        return self.predicted_s / self.measured_s


def worst(comparison: Comparison, count: int) -> list[Row]:
    """The `count` rows with the largest factor between prediction and measurement, either way."""
    reached = comparison.rows[comparison.rows["outside"] == ""]
    columns = reached["group"], reached["what"], reached["measured_s"], reached["predicted_s"]
    off = np.abs(np.log(np.asarray(columns[3], dtype=float) / np.asarray(columns[2], dtype=float)))
    at = np.argsort(-off, kind="stable")[:count]
    group, what, measured, predicted = (list(c.iloc[at]) for c in columns)
    return [
        Row(str(g), str(w), float(m), float(p))
        for g, w, m, p in zip(group, what, measured, predicted, strict=True)
    ]
