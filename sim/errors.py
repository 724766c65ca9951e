"""What can go wrong, and whose fault it is.

- `ScenarioError`: the user wrote something that cannot be simulated. One sentence that names the
  setting, the value and the way out. The command line prints it and exits with 2.
- `BrokenInvariant`: the simulator contradicted itself. Raised, never asserted, so that it also
  holds under `python -O`; it names the request and the time.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class ScenarioError(Exception):
    """A mistake in what the user wrote; the text is the whole message."""


class BrokenInvariant(Exception):  # noqa: N818 - it is a fact about the program, not an input error
    """The simulator's own bookkeeping does not add up: a bug, to be reported."""


def suggest(word: str, known: Iterable[str]) -> str:
    """`"; did you mean 'x'?"` when a known word is near, else the list of known words."""
    names = sorted(known)
    near = difflib.get_close_matches(word.lower(), [n.lower() for n in names], n=1, cutoff=0.6)
    if near:
        match = next(n for n in names if n.lower() == near[0])
        return f"; did you mean '{match}'?"
    return f"; known: {', '.join(names)}" if names else ""
