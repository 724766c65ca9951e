"""What follows from a law of acceptance and those that it is made of."""

from __future__ import annotations

from collections.abc import Iterator

from sim.perf.acceptances import Acceptance
from sim.perf.acceptances.by_class import ByClass
from sim.perf.acceptances.drift import Drift
from sim.perf.acceptances.relaxed import Relaxed


def laws_in(law: Acceptance) -> Iterator[Acceptance]:
    """The law and all below it."""
    yield law
    if isinstance(law, (Drift, Relaxed)):
        yield from laws_in(law.of)
    elif isinstance(law, ByClass):
        for kind in law.classes:
            yield from laws_in(kind.acceptance)


def is_frozen(law: Acceptance) -> bool:
    """Whether the draft falls behind its target and is never fitted to it again."""
    return any(isinstance(one, Drift) and one.refit_every is None for one in laws_in(law))
