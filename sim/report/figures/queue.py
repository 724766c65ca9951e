"""Waiting and running sequences over time."""

from __future__ import annotations

from typing import Any, ClassVar

from sim.record.run_folder import RunFolder
from sim.report.series import Times, add_lines, rows_of
from sim.report.style import layout


class Queue:
    """How many sequences wait, and how many take part in steps, by pool."""

    title: ClassVar[str] = "Waiting and running sequences"
    section: ClassVar[str] = "Throughput and load"
    note: ClassVar[str] = (
        "Means over each bin of time. A waiting line that keeps growing means that the load is "
        "above what the pool can serve."
    )

    def draw(self, run: RunFolder) -> Any:
        """Two rows over time, or None without steps."""
        times = Times.read(run)
        if times is None:
            return None
        activity, r = times.activity, times.activity.rows
        figure = rows_of(2, ["waiting", "running"])
        waiting = activity.states(r["waiting"], times.edges, *times.by_pool)
        running = activity.levels(r["decodes"] + r["prefills"], times.edges, *times.by_pool)
        add_lines(figure, times, waiting, row=1, hover="%{y:.4g} waiting", legend=True)
        add_lines(figure, times, running, row=2, hover="%{y:.4g} running", legend=False)
        return layout(figure, 420, hovermode="x")
