"""A published figure of a loop, ours beside it, and what may be said about the pair."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

EXACT, TIGHT, FAIR = 0.005, 0.10, 0.25
"""Relative tolerances of the classes."""

Verdict = Literal["within", "outside", "predicted", "input", "not modelled"]
"""`predicted`: the published figure is not at hand, ours is written down. `input`: the scenario was
made from it, so that it proves nothing."""


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the comparison, everything as it is printed."""

    id: str
    system: str
    what: str
    """Set-up and quantity, with its unit."""
    theirs: str
    ours: str
    ratio: str
    """Ours over theirs, where both are numbers."""
    tolerance: str
    verdict: Verdict
    source: str
    assumed: str = ""
    """Inputs that the source does not give."""
    cause: str = ""
    """Why it misses, where it does; what to know of it, where it does not."""

    def cells(self) -> dict[str, str]:
        """For CSV and Markdown."""
        names = ("id", "system", "what", "theirs", "ours", "ratio", "tolerance", "verdict")
        out = {name: str(getattr(self, name)) for name in names}
        return out | {"cause": self.cause, "assumed": self.assumed, "source": self.source}


@dataclass(frozen=True, slots=True)
class Paper:
    """What the rows of one source share."""

    system: str
    source: str
    assumed: str = ""
    causes: dict[str, str] = field(default_factory=dict)
    """Row → why it is outside, or what to know of it."""

    def near(
        self, name: str, what: str, theirs: float, ours: float, tolerance: float = FAIR
    ) -> Row:
        """A figure to be met within a relative tolerance."""
        ratio = ours / theirs
        verdict: Verdict = "within" if abs(ratio - 1.0) <= tolerance else "outside"
        words = f"± {100 * tolerance:g} %"
        return self._row(name, what, figure(theirs), ours, f"{ratio:.2f}", words, verdict)

    def gain(self, name: str, what: str, theirs: float, ours: float) -> Row:
        """A speed-up: within a quarter, and what it is above 1 by half to double, since a quarter
        of a small gain would hold no gain at all."""
        ratio, above = ours / theirs, (ours - 1.0) / (theirs - 1.0)
        ok = abs(ratio - 1.0) <= FAIR and 0.5 <= above <= 2.0
        words = f"± {100 * FAIR:g} %, and half to double above 1"
        verdict: Verdict = "within" if ok else "outside"
        return self._row(name, what, figure(theirs), ours, f"{ratio:.2f}", words, verdict)

    def points(self, name: str, what: str, theirs: float, ours: float, points: float = 5.0) -> Row:
        """A share in per cent, to be met within so many points, and within half of it."""
        allowed = min(points, 0.5 * theirs)
        verdict: Verdict = "within" if abs(ours - theirs) <= allowed else "outside"
        words = f"± {allowed:.1f} points"
        ratio = f"{ours / theirs:.2f}"
        return self._row(name, what, f"{theirs:g} %", f"{ours:.1f} %", ratio, words, verdict)

    def shape(self, name: str, what: str, claim: str, ours: Sequence[float], ok: bool) -> Row:
        """An ordering, a sign or a crossover."""
        text = ", ".join(figure(x) for x in ours)
        return self._row(name, what, claim, text, "", "shape", "within" if ok else "outside")

    def predicted(self, name: str, what: str, ours: float | str) -> Row:
        """Ours alone, written down before the published figure is looked at."""
        return self._row(name, what, "withheld", ours, "", "–", "predicted")

    def given(self, name: str, what: str, theirs: float, ours: float) -> Row:
        """What the scenario was made from."""
        return self._row(name, what, figure(theirs), ours, f"{ours / theirs:.2f}", "input", "input")

    def missing(self, name: str, what: str, theirs: str, why: str) -> Row:
        """What the program has no answer to."""
        row = self._row(name, what, theirs, "–", "", "–", "not modelled")
        return replace(row, cause=why)

    def _row(
        self,
        name: str,
        what: str,
        theirs: str,
        ours: float | str,
        ratio: str,
        tolerance: str,
        verdict: Verdict,
    ) -> Row:
        text = ours if isinstance(ours, str) else figure(ours)
        more = (self.source, self.assumed, self.causes.get(name, ""))
        return Row(name, self.system, what, theirs, text, ratio, tolerance, verdict, *more)


def figure(x: float) -> str:
    """Three significant digits, as people write them."""
    return f"{x:.3g}" if abs(x) < 1000 else f"{x:,.0f}"
