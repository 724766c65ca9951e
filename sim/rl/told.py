"""Mistakes that other rooms find in a loop's settings, told by their names in a scenario."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from sim.errors import ScenarioError

_NAMES = (
    ("training.layout: ", "rl.trainer.layout: "),
    ("training.recipe: ", "rl.trainer.recipe: "),
    ("training: ", "rl.trainer: "),
    ("use recompute: full", "use recipe.recompute: full"),
    ("fewer tokens per micro-batch", "a lower micro_batch_tokens"),
    ("a higher zero stage", "a higher recipe.zero"),
    ("or offload", "or recipe.offload"),
    ("max_tokens=", "micro_batch_tokens="),
)
"""What a trainer calls its settings, and what a scenario does."""


@contextmanager
def of_trainer() -> Iterator[None]:
    """A mistake in what is written under `rl.trainer`."""
    try:
        yield
    except ScenarioError as mistake:
        says = str(mistake)
        if says.startswith("training"):
            for name, written in _NAMES:
                says = says.replace(name, written)
        raise ScenarioError(says) from mistake


@contextmanager
def of_law(where: str) -> Iterator[None]:
    """A mistake in a law of lengths, which takes it for one of a workload."""
    try:
        yield
    except ScenarioError as mistake:
        raise ScenarioError(f"{where}: {str(mistake).removeprefix('workload: ')}") from mistake
