"""Tokens per second over time."""

from __future__ import annotations

from typing import Any, ClassVar

from sim.record.run_folder import RunFolder
from sim.report.series import Times, add_lines, rows_of
from sim.report.style import layout


class Throughput:
    """Tokens made and prompt tokens computed per second, by pool."""

    title: ClassVar[str] = "Throughput over time"
    section: ClassVar[str] = "Throughput and load"
    note: ClassVar[str] = (
        "Output tokens are sampled tokens; prompt tokens are those really computed (cache hits "
        "left out, recomputation after preemptions included)."
    )

    def draw(self, run: RunFolder) -> Any:
        """Two rows over time, or None without steps."""
        times = Times.read(run)
        if times is None:
            return None
        figure = rows_of(2, ["output tokens/s", "prompt tokens/s"])
        for row, column in enumerate(("sampled", "prefill_tokens"), start=1):
            rates = times.activity.rates(column, times.edges, *times.by_pool)
            add_lines(figure, times, rates, row=row, hover="%{y:.4g} tokens/s", legend=row == 1)
        return layout(figure, 420, hovermode="x")
