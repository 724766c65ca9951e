"""A published figure, ours beside it, and what "agrees" means for it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

EXACT, TIGHT, FAIR = 0.005, 0.10, 0.25
"""Relative tolerances of the classes (references: exact below 0.5 %, tight 5 to 10 %, fair 15 to
25 %; the wider end is taken)."""

Verdict = Literal["within", "outside", "not modelled"]


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the comparison. Everything is as it is printed; `within` is None where there is
    no answer of ours."""

    id: str
    chapter: str
    what: str
    """Set-up and quantity, with its unit."""
    theirs: str
    ours: str
    ratio: str
    """Ours over theirs, where both are numbers."""
    tolerance: str
    within: bool | None
    source: str
    assumed: str = ""
    """Inputs that the source does not give."""
    cause: str = ""
    """Why it misses, where it does."""

    @property
    def verdict(self) -> Verdict:
        """One of three words."""
        if self.within is None:
            return "not modelled"
        return "within" if self.within else "outside"

    def cells(self) -> dict[str, str]:
        """For CSV and Markdown."""
        return {
            "id": self.id,
            "chapter": self.chapter,
            "set-up": self.what,
            "theirs": self.theirs,
            "ours": self.ours,
            "ratio": self.ratio,
            "tolerance": self.tolerance,
            "verdict": self.verdict,
            "assumed": self.assumed,
            "cause": "" if self.within else self.cause,
            "source": self.source,
        }


@dataclass(frozen=True, slots=True)
class Paper:
    """What the rows of one source share."""

    chapter: str
    source: str
    assumed: str = ""

    def near(
        self, name: str, what: str, theirs: float, ours: float, tolerance: float, **more: str
    ) -> Row:
        """A figure to be met within a relative tolerance."""
        ratio = ours / theirs
        ok = abs(ratio - 1.0) <= tolerance
        words = f"± {100 * tolerance:g} %"
        return self._row(name, what, figure(theirs), figure(ours), f"{ratio:.2f}", words, ok, more)

    def between(
        self,
        name: str,
        what: str,
        theirs: tuple[float, float],
        ours: float,
        slack: float = 0.0,
        **more: str,
    ) -> Row:
        """A range of theirs, widened on both sides by a share of its ends."""
        low, high = theirs
        ok = low * (1.0 - slack) <= ours <= high * (1.0 + slack)
        words = "in range" + (f" ± {100 * slack:g} %" if slack else "")
        text = f"{figure(low)} to {figure(high)}"
        ratio = f"{ours / (0.5 * (low + high)):.2f}"
        return self._row(name, what, text, figure(ours), ratio, words, ok, more)

    def within_points(
        self, name: str, what: str, theirs: float, ours: float, points: float, **more: str
    ) -> Row:
        """A share in per cent, to be met within so many points."""
        ok = abs(ours - theirs) <= points
        words = f"± {points:g} points"
        return self._row(
            name, what, f"{theirs:g} %", f"{ours:.1f} %", f"{ours / theirs:.2f}", words, ok, more
        )

    def at_most(self, name: str, what: str, theirs: float, ours: float, **more: str) -> Row:
        """An upper bound."""
        ratio = f"{ours / theirs:.2f}"
        ok = ours <= theirs * (1.0 + 1e-9)
        return self._row(name, what, f"≤ {figure(theirs)}", figure(ours), ratio, "bound", ok, more)

    def shape(
        self, name: str, what: str, claim: str, ours: Sequence[float] | str, ok: bool, **more: str
    ) -> Row:
        """An ordering, a sign or a crossover."""
        text = ours if isinstance(ours, str) else ", ".join(figure(x) for x in ours)
        return self._row(name, what, claim, text, "", "shape", ok, more)

    def missing(self, name: str, what: str, theirs: str, why: str) -> Row:
        """What the program has no answer to."""
        return self._row(name, what, theirs, "–", "", "–", None, {"cause": why})

    def _row(
        self,
        name: str,
        what: str,
        theirs: str,
        ours: str,
        ratio: str,
        tolerance: str,
        ok: bool | None,
        more: dict[str, str],
    ) -> Row:
        row = Row(name, self.chapter, what, theirs, ours, ratio, tolerance, ok, self.source)
        words = {"assumed": self.assumed} | more
        return replace(row, assumed=words["assumed"], cause=words.get("cause", ""))


def figure(x: float) -> str:
    """Three significant digits, as people write them."""
    if abs(x) < 1000:
        return f"{x:.3g}"
    return f"{x:,.0f}" if abs(x) < 1e7 else f"{x:.3g}"
