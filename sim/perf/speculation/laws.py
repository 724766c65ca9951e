"""What follows from a law of acceptance and those that it is made of."""

from __future__ import annotations

from collections.abc import Iterator

from sim.perf.acceptances import Acceptance
from sim.perf.acceptances.by_class import ByClass
from sim.perf.acceptances.by_position import ByPosition
from sim.perf.acceptances.drift import Drift
from sim.perf.acceptances.measured import Measured
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


def extrapolated(law: Acceptance, drafts: int) -> list[dict[str, str]]:
    """Laws given for fewer than so many drafts: their last chance holds beyond."""
    rows = []
    for one in laws_in(law):
        if isinstance(one, ByPosition):
            known, name = len(one.at), "by_position"
        elif isinstance(one, Measured):
            known, name = len(one.lengths) - 1, "measured"
        else:
            continue
        if known < drafts:
            value = f"draft {known + 1} to {drafts}" if known + 1 < drafts else f"draft {drafts}"
            why = f"extrapolated: {name} is given for {known}, whose last chance holds beyond"
            rows.append({"what": "acceptance of drafts", "value": value, "source": why})
    return rows
