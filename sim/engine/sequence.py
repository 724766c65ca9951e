"""The progress of a request in an engine."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from sim.record.tables import NONE
from sim.workload.request import Ask

if TYPE_CHECKING:
    from sim.engine.verify_lane import AnyLane

NAN = float("nan")


@dataclass(eq=False, slots=True)
class Sequence:
    """One request on its way. It moves between engines; its KV does not move with it by itself."""

    ask: Ask
    number: int
    target: int
    """Tokens whose KV must be computed before it decodes: the prompt, after a preemption also
    what was generated."""
    computed: int = 0
    """Tokens whose KV is computed or being computed. While it decodes: `phase + lane.tick`."""
    generated: int = 0
    """Tokens made, the ones of the lane in which it decodes not included."""

    # where it is
    lane: AnyLane | None = None
    phase: int = 0
    join_tick: int = 0
    joins: int = 0
    """Lanes that it has joined so far."""
    finish_tick: int = 0
    chunks: int = 0
    """Chunks of it in passes that are planned or under way."""

    # what it holds
    units: int = 0
    """Private KV units."""
    keys: list[Hashable] = field(default_factory=list)
    """Prefix blocks that it uses, in order."""
    key_tokens: int = 0
    """Tokens that the prefix blocks examined so far reach to."""
    reserved: bool = False
    """Its units cover its whole declared length."""

    # its present stay
    enter_s: float = 0.0
    first_step: int = 0
    last_step: int = NONE
    track: int = 0
    stay_tokens: int = 0
    stay_cached: int = 0

    # what is reported at its end
    first_step_s: float = NAN
    first_token_s: float = NAN
    cached_tokens: int = NONE
    recomputed: int = 0
    computed_before: int = 0
    preemptions: int = 0
    verified: int = 0
    """Verify steps that it has had, in all its stays."""
    first_engine: int = NONE

    @property
    def in_flight(self) -> bool:
        """Whether a pass is working on it, so that it cannot be sent back."""
        return self.chunks > 0 or (self.lane is not None and self.lane.flying)

    @property
    def recomputing(self) -> bool:
        """Whether its present stay repeats work that a preemption threw away."""
        return self.preemptions > 0
