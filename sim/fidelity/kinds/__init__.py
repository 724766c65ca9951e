"""What predictions are compared with, one kind of measurement per file, named by the file."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Protocol

from sim.fidelity.comparison import Comparison

Progress = Callable[[int, int], None]
"""Told (rows done, rows in all) now and then."""


def _silent(done: int, of: int) -> None:
    """Nobody listens."""


@dataclass(frozen=True, slots=True)
class Options:
    """How to compare. What a kind has no use for is refused by it, never ignored."""

    gpu: str | None = None
    """The GPU of the measurements, where file and folder do not say."""
    engine: str | None = None
    """The engine (with version) of the measurements, likewise."""
    limit: int | None = None
    """Compare at most this many rows of a file, evenly spread over it."""
    workers: int = 1
    """Processes that play scenarios."""
    overrides: tuple[str, ...] = ()
    """Changes `a.b=c` of the scenarios that are played."""
    progress: Progress = _silent


class Kind(Protocol):
    """What every file here provides."""

    meaning: ClassVar[str]
    """What is compared, in a line."""
    takes: ClassVar[frozenset[str]]
    """Options that have an effect, of `gpu engine limit workers overrides`."""

    def files(self, folder: Path) -> list[Path]:
        """The files (or folders) of this kind in a folder of measurements, in a fixed order."""

    def compare(self, path: Path, options: Options) -> Comparison:
        """All rows of one file; ScenarioError when it is not of this kind."""
