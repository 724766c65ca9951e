"""A progress bar on stderr, for runs that take a while."""

from __future__ import annotations

import sys
from time import monotonic
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

PATIENCE_S = 1.0
"""Nothing is shown before."""


class Bar:
    """Requests done of those expected, and simulated time. Shows itself only on a terminal, and
    only after a second."""

    def __init__(self) -> None:
        self._shows = sys.stderr.isatty()
        self._since_s = monotonic()
        self._drawn: tuple[Progress, TaskID] | None = None

    def __enter__(self) -> Bar:
        return self

    def __exit__(self, *error: object) -> None:
        if self._drawn is not None:
            self._drawn[0].stop()

    def __call__(self, done: int, expected: int, simulated_s: float) -> None:
        """The simulation has come this far."""
        if self._shows and monotonic() - self._since_s > PATIENCE_S:
            bar, task = self._bar()
            text = f"{done:,} of {expected:,} requests, {simulated_s:,.1f} s simulated"
            bar.update(task, completed=done, total=expected, text=text)

    def doing(self, what: str) -> None:
        """Something without a measure begins."""
        if self._shows and monotonic() - self._since_s > PATIENCE_S:
            bar, task = self._bar()
            bar.update(task, total=None, text=what)

    def _bar(self) -> tuple[Progress, TaskID]:
        if self._drawn is None:
            from rich.console import Console
            from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

            bar = Progress(
                BarColumn(),
                TextColumn("{task.fields[text]}"),
                TimeRemainingColumn(),
                console=Console(stderr=True),
                transient=True,
            )
            self._drawn = bar, bar.add_task("", text="")
            bar.start()
        return self._drawn
