"""How many tokens are drafted ahead, one way a file.

A policy is asked when the number of sequences has changed and every 64 verify steps (where a leap
ends anyway), so that leaping and stepping hear the same. All ranks of an engine draft alike.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Situation:
    """What an engine knows when it asks."""

    sequences: int
    """That decode, on the fullest rank."""
    context_tokens: int
    """Keys that they attend to, on that rank."""
    drafts: int
    """The present length."""
    steps: int
    """Steps since the policy was last asked in which somebody was drafted for; counted at most back
    to the last multiple of 64."""
    accepted: float
    """Mean drafts accepted per sequence in those steps."""


@dataclass(frozen=True, slots=True)
class DraftServices:
    """What a running policy may use."""

    most: int
    """Longest draft."""
    gain: Callable[[Situation, int], float]
    """Speed-up over plain decoding of a draft of some length, by the engine's own price list and
    the law of acceptance."""


class Chooser(Protocol):
    """A running policy."""

    def length(self, now: Situation) -> int:
        """Drafts of the next steps; 0 = plain decoding."""


class DraftLength(Protocol):
    """What every file here provides."""

    def start(self, services: DraftServices) -> Chooser | None:
        """The running policy; None = always the longest draft."""
