"""Figures of the report: one file each, found by its name.

A file has one public class, made without settings, with `title` and `section` (texts), `note` (one
sentence that says how to read it) and `draw(run) -> Figure | None`; None when the run has nothing
to show. `order`, a number, says where it stands in its section (0 when left out; equal ones go by
name). Figures are built by `plotly.graph_objects`, imported when drawing.
"""

from __future__ import annotations

from typing import Any, ClassVar, Protocol

from sim.record.run_folder import RunFolder


class Figure(Protocol):
    """What the report asks of a figure."""

    title: ClassVar[str]
    section: ClassVar[str]
    note: ClassVar[str]

    def draw(self, run: RunFolder) -> Any:
        """A plotly Figure, or None when the run has nothing to show."""
