"""Mistakes that other rooms find in a loop's settings, told by their names in a scenario."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from sim.errors import ScenarioError


@contextmanager
def of_law(where: str) -> Iterator[None]:
    """A mistake in a law of lengths, which takes it for one of a workload."""
    try:
        yield
    except ScenarioError as mistake:
        raise ScenarioError(f"{where}: {str(mistake).removeprefix('workload: ')}") from mistake
