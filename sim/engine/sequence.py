"""The progress of a request in an engine."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from sim.record.tables import NONE
from sim.workload.request import Ask

if TYPE_CHECKING:
    from sim.engine.engine import Engine
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
    engine: Engine | None = None
    """Its engine; None before the first one and after the last."""
    rank: int = 0
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
    versions: tuple[tuple[int, int], ...] = ()
    """(version of the weights, tokens made up to its end), as far as `mark` was told of them."""

    @property
    def in_flight(self) -> bool:
        """Whether a pass is working on it, so that it cannot be sent back."""
        return self.chunks > 0 or (self.lane is not None and self.lane.flying)

    @property
    def recomputing(self) -> bool:
        """Whether its present stay repeats work that was thrown away."""
        return self.computed_before > 0

    def start_over(self) -> None:
        """Its KV is gone: the prompt and what was generated are to be computed again."""
        self.computed_before = max(self.computed_before, self.computed)
        self.target = self.ask.prompt_tokens + self.generated
        self.computed = 0

    @property
    def made(self) -> int:
        """Tokens made so far, those of its lane included (between passes)."""
        return self.generated + (self.lane.made(self) if self.lane is not None else 0)

    def mark(self, version: int) -> None:
        """The tokens made so far that nobody has marked were made with weights of `version`."""
        known, made = self.versions, self.made
        if not known or made > known[-1][1]:
            same = bool(known) and known[-1][0] == version
            self.versions = (*(known[:-1] if same else known), (version, made))

    def by_version(self) -> tuple[tuple[int, int], ...]:
        """(version, tokens made with it) in order. After its end; version 0 where no engine was
        ever told another."""
        if not self.versions:
            return ((0, self.generated),) if self.generated else ()
        ends = [0, *(end for _, end in self.versions)]
        return tuple((v, end - ends[i]) for i, (v, end) in enumerate(self.versions))
