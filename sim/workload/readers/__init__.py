"""Formats of traces: one file per format, named by the file.

`sniff` looks at the first lines only; `read` checks everything and keeps the order of the file.
"""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from sim.workload.trace import Trace


class Reader(Protocol):
    """What a file of this folder offers."""

    @staticmethod
    def sniff(head: str) -> bool:
        """Whether a file that begins with the lines `head` is of this format."""

    def read(self, path: Path) -> Trace:
        """The trace in a file; ScenarioError, with line and column, when it is damaged."""
