"""Samples and their groups: what a loop asks for, scores and trains on."""

from __future__ import annotations

from dataclasses import dataclass, field

from sim.record.tables import NONE, SAMPLE_STATES

TRAINED, FILTERED, STALE, ABORTED, IN_FLIGHT = range(len(SAMPLE_STATES))
NAN = float("nan")

PLACES = 4096
"""More than the samples of any prompt: prompt · PLACES + place is a sample's number for draws, the
same in every cadence."""


@dataclass(eq=False, slots=True)
class Sample:
    """One answer to a prompt, over all its turns."""

    number: int
    """In order of submission, from 0."""
    group: Group
    index: int
    prompt_tokens: int
    response_tokens: int
    """Tokens that it will have been given at its end; the loop's own books, no policy looks."""
    submitted_s: float
    request: int = NONE
    """Its present request, or the last one."""
    engine: int | None = None
    """The engine that is to make it; None = the router's choice."""
    turns: int = 0
    generated: int = 0
    """Tokens of the turns that have ended."""
    added: int = 0
    """Tokens that tools have put between them."""
    generated_s: float = NAN
    scored_s: float = NAN
    tools_s: float = 0.0
    """Between its turns, in line for a worker included."""
    tools_wait_s: float = 0.0
    """Of them, in line."""
    reward_wait_s: float = 0.0
    """In line for whoever scores."""
    state: int = IN_FLIGHT
    unwanted: bool = False
    """It was given up, and leaves its engine when the pass that works on it commits."""
    settled: bool = False
    """Its fate is decided and written."""
    uses: int = 0
    """Times that it has been trained on."""
    lag: tuple[float, int] = (0.0, 0)
    """Its staleness when it was trained on: mean over its tokens, largest."""
    step_now: int = NONE
    """Step that trained on it last."""
    interruptions: int = 0
    versions: list[tuple[int, int]] = field(default_factory=list)
    """(policy version, tokens that it made), in order."""

    @property
    def tokens(self) -> int:
        """What a trainer sees of it."""
        return self.prompt_tokens + self.added + self.response_tokens

    def staleness(self, version: int) -> tuple[float, int]:
        """(mean over tokens, largest) of `version` less the version that made a token."""
        total = sum(n for _, n in self.versions)
        if not total:
            return 0.0, 0
        lag = sum((version - v) * n for v, n in self.versions)
        return lag / total, max(version - v for v, n in self.versions if n)


@dataclass(eq=False, slots=True)
class Group:
    """The samples of one prompt: rewards are compared within it (GRPO, arXiv 2402.03300), so it is
    trained on as a whole."""

    prompt: int
    """Number of the prompt, from 0."""
    submitted_s: float
    version: int
    """Of the policy when it was submitted."""
    samples: list[Sample] = field(default_factory=list)
    open: int = 0
    """Samples without a reward that are still awaited."""
    ready_s: float = NAN
    """When its last reward was known."""
    round: int = 0
    """Times that its prompt has been submitted before."""
    unwanted: bool = False
    """Given up by the cadence, not for what its samples are."""

    @property
    def kept(self) -> list[Sample]:
        """Samples that have not been given up."""
        return [s for s in self.samples if s.state == IN_FLIGHT]

    @property
    def generated_s(self) -> float:
        """When the last of its tokens was made."""
        return max((s.generated_s for s in self.kept), default=NAN)
