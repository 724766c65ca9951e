"""How full the KV pools are over time."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np

from sim.measure.ledger import Floats
from sim.record.run_folder import RunFolder
from sim.report.series import Times, add_lines, rows_of
from sim.report.style import layout


class KvUse:
    """Share of KV blocks held by sequences, and by the prefix cache alone, by pool."""

    title: ClassVar[str] = "KV cache use"
    section: ClassVar[str] = "Throughput and load"
    note: ClassVar[str] = (
        "Share of a pool's KV blocks. Blocks of the prefix cache alone are given up when a "
        "sequence needs room; when sequences fill the pool, some are preempted."
    )

    def draw(self, run: RunFolder) -> Any:
        """Two rows over time, or None without steps."""
        times = Times.read(run)
        if times is None:
            return None
        figure = rows_of(2, ["held by sequences (%)", "prefix cache only (%)"])
        for row, column in enumerate(("used_blocks", "cached_blocks"), start=1):
            use = 100.0 * _share(times, column)
            add_lines(figure, times, use, row=row, hover="%{y:.3g} %", legend=row == 1)
            top = min(max(1.1 * float(use.max()), 10.0), 103.0)
            figure.update_yaxes(range=[0, top], row=row, col=1)
        return layout(figure, 420, hovermode="x")


def _share(times: Times, column: str) -> Floats:
    """Blocks of a pool over all that it has; shape (pools, bins)."""
    activity = times.activity
    pool, pools = times.by_pool
    blocks = activity.states(activity.rows[column], times.edges, pool, pools)
    ranks = np.array([e["ranks"] for e in times.fleet.engines], dtype=np.float64)
    size = np.bincount(pool, weights=ranks * times.fleet.kv_blocks, minlength=pools)
    return np.asarray(blocks / np.maximum(size, 1.0)[:, None])
