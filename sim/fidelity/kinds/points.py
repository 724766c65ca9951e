"""Load points: mean TTFT and TPOT of a server under a closed loop, each played as a scenario.

CSV columns, as in AIConfigurator's collection of InferenceX runs: `system, backend, model_path,
precision, isl, osl, tp_size, concurrency, silicon_ttft_ms, silicon_tpot_ms`, and optionally
`backend_version`, `source`, `mode`, `pp_size`, `attention_dp_size`, `moe_ep_size`, and engine
settings (`sim.fidelity.harness`).
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pandas as pd

from sim.errors import ScenarioError
from sim.fidelity.comparison import Comparison
from sim.fidelity.hardware import gpu_called, model_called
from sim.fidelity.harness import DEFAULTS, KV, WEIGHTS, Point, profile
from sim.fidelity.kinds import Options, Progress
from sim.fidelity.serving import Server, play, reason, scenario_of, work_out
from sim.fidelity.tables import (
    read_table,
    require,
    require_numbers,
    require_times,
    require_whole,
    spread,
)

NEEDED = (
    "system", "backend", "model_path", "precision", "isl", "osl", "tp_size", "concurrency",
    "silicon_ttft_ms", "silicon_tpot_ms",
)  # fmt: skip
TEXT = ("system", "backend", "backend_version", "model_path", "precision", "source", "mode",
        "kv_cache_dtype")  # fmt: skip
SIZES = ("isl", "osl", "tp_size")
GROUPS = ("pp_size", "attention_dp_size", "moe_ep_size")
"""Numbers of GPUs that may be blank, or 0, for 1."""
LIMITS = ("concurrency", "max_num_seqs", "max_num_batched_tokens")
"""Numbers that may be blank."""
SHARE = "gpu_memory_utilization"
ENGINE = ("max_num_seqs", "max_num_batched_tokens", "kv_cache_dtype", "gpu_memory_utilization")
METRICS = ("TTFT", "TPOT")
MARK = "silicon_tpot_ms"
"""The column by which such a file is known."""

Answer = tuple[float, float, str]
"""Mean TTFT and TPOT in seconds, or why there are none."""


class Points:
    """Rows are grouped by GPU, engine, model, format, layout and source."""

    meaning: ClassVar[str] = "TTFT and TPOT of served load points (silicon_points_*.csv)"
    takes: ClassVar[frozenset[str]] = frozenset({"limit", "workers", "overrides"})

    def files(self, folder: Path) -> list[Path]:
        """CSV files of that name."""
        return sorted(p for p in folder.rglob("silicon_points_*") if ".csv" in p.name)

    def compare(self, path: Path, options: Options) -> Comparison:
        """Play every row; ScenarioError when columns are missing or no number."""
        table = read_table(path, TEXT)
        require(path, table, NEEDED, "a file of load points")
        _check_cells(path, table)
        table = table.iloc[spread(len(table), options.limit)].reset_index(drop=True)
        rows = [_Row.of(r) for r in table.to_dict("records")]
        answers = list(_played(rows, options))
        return Comparison.join(
            _metric(table, rows, answers, path, metric) for metric in range(len(METRICS))
        )


def _check_cells(path: Path, table: pd.DataFrame) -> None:
    """ScenarioError naming the first cell that is no number of its kind."""
    require_whole(path, table, SIZES)
    require_whole(path, table, [c for c in LIMITS if c in table], blank=True)
    require_whole(path, table, [c for c in GROUPS if c in table], least=0, blank=True)
    require_times(path, table, ("silicon_ttft_ms",))
    require_numbers(path, table, ("silicon_tpot_ms",))
    one = table["osl"] == 1  # its TPOT may be 0
    several = table.assign(silicon_tpot_ms=table["silicon_tpot_ms"].mask(one, 1.0))
    require_times(path, several, ("silicon_tpot_ms",))
    if SHARE in table:
        require_numbers(path, table.fillna({SHARE: 1.0}), (SHARE,))


class _Row:
    """A row in the catalog's words, or why it has none."""

    def __init__(self, point: Point | None, outside: str, group: str, what: str) -> None:
        self.point = point
        self.outside = outside
        self.group = group
        self.what = what

    @classmethod
    def of(cls, cells: dict[Any, Any]) -> _Row:
        raw = f"{cells['system']} {cells['backend']} {cells['model_path']} {cells['precision']}"
        raw += f" TP{cells['tp_size']:g}"
        what = f"{cells['isl']:g}/{cells['osl']:g} tokens, {cells['concurrency']:g} clients"
        try:
            point = _point(cells)
        except ScenarioError as mistake:
            return cls(None, reason(mistake), raw.replace("  ", " "), what)
        source = f" ({point.source})" if point.source else ""
        fmt = point.precision().get("weights", "own format")
        group = f"{point.gpu} {point.engine} {point.model} {fmt} {point.layout_text()}{source}"
        return cls(point, "", group, point.workload_text())


def _point(cells: dict[Any, Any]) -> Point:
    """Refuses, with ScenarioError, what no scenario of this kind can say."""
    engine = str(cells["backend"]).lower()
    if engine not in DEFAULTS:
        raise ScenarioError(f"engine '{engine}' is not known (known: {', '.join(DEFAULTS)})")
    precision = str(cells["precision"]).lower()
    if precision not in WEIGHTS:
        raise ScenarioError(f"precision '{precision}' is not known")
    if not np.isfinite(float(cells["concurrency"])):
        raise ScenarioError("no concurrency is given")
    if cells.get("mode", "agg") not in ("", "agg"):
        raise ScenarioError(f"mode '{cells['mode']}' is not played by this kind")
    dp, ep = _count(cells, "attention_dp_size"), _count(cells, "moe_ep_size")
    if dp > 1 and ep not in (1, dp * int(cells["tp_size"])):
        raise ScenarioError("experts over some of the attention ranks are not played by this kind")
    return Point(
        gpu=gpu_called(str(cells["system"])).name,
        engine=engine,
        model=model_called(str(cells["model_path"])),
        weights=WEIGHTS[precision],
        tp=int(cells["tp_size"]),
        pp=_count(cells, "pp_size"),
        dp=dp,
        ep=ep,
        source=str(cells.get("source", "")).lower(),
        input_tokens=int(cells["isl"]),
        output_tokens=int(cells["osl"]),
        concurrency=int(cells["concurrency"]),
        profile=profile(engine, str(cells.get("backend_version", ""))),
        more=_more(cells),
    )


def _count(cells: dict[Any, Any], column: str) -> int:
    """A number of GPUs; 1 where the column is absent, blank or 0."""
    value = float(cells.get(column, 1))
    return max(1, int(value)) if np.isfinite(value) else 1


def _more(cells: dict[Any, Any]) -> dict[str, Any]:
    """Engine settings that the row itself gives."""
    more: dict[str, Any] = {}
    for name in ENGINE:
        value = cells.get(name)
        if value is None or value == "" or value != value:
            continue
        if name == "kv_cache_dtype":
            if str(value).lower() not in KV:
                raise ScenarioError(f"kv_cache_dtype '{value}' is not known")
            more[name] = str(value).lower()
        else:
            more[name] = float(value) if name == "gpu_memory_utilization" else int(value)
    return more


def _played(rows: list[_Row], options: Options) -> Iterator[Answer]:
    """The answers of all rows, in order; each is played on its own."""
    if options.workers == 1:
        for i, row in enumerate(rows):
            yield _answer(row.point, options.overrides, row.outside)
            options.progress(i + 1, len(rows))
        return
    from joblib import Parallel, delayed

    job = delayed(_answer)
    pool = Parallel(n_jobs=options.workers, return_as="generator")
    jobs = (job(row.point, options.overrides, row.outside) for row in rows)
    yield from _told(pool(jobs), options.progress, len(rows))


def _told(answers: Iterator[Answer], progress: Progress, of: int) -> Iterator[Answer]:
    for i, answer in enumerate(answers):
        progress(i + 1, of)
        yield answer


def _answer(point: Point | None, overrides: tuple[str, ...], outside: str) -> Answer:
    """Play one row."""
    if point is None:
        return np.nan, np.nan, outside
    server = Server(
        gpu=point.gpu,
        model=point.model,
        profile=point.profile,
        tp=point.tp,
        pp=point.pp,
        dp=point.dp,
        ep=point.ep,
        precision=point.precision(),
        engine=point.settings(),
        frontend=point.frontend(),
    )
    scenario = scenario_of(server, point.workload(), overrides)
    try:
        found = play(work_out(server, scenario))
    except ScenarioError as mistake:
        return np.nan, np.nan, reason(mistake)
    if found.lost:
        return np.nan, np.nan, "requests do not fit the KV cache or the context"
    tpot = found.tpot_s[np.isfinite(found.tpot_s)]
    return float(found.ttft_s.mean()), float(tpot.mean()) if len(tpot) else np.nan, ""


def _metric(
    table: pd.DataFrame, rows: list[_Row], answers: list[Answer], path: Path, metric: int
) -> Comparison:
    """One of TTFT and TPOT of all rows."""
    name = METRICS[metric]
    column = ("silicon_ttft_ms", "silicon_tpot_ms")[metric]
    return Comparison.of(
        kind="points",
        group=[f"{r.group} {name}" for r in rows],
        metric=name,
        what=[r.what for r in rows],
        file=path.name,
        measured_s=table[column].to_numpy(dtype=float) / 1e3,
        predicted_s=[a[metric] for a in answers],
        outside=[a[2] for a in answers],
    )
