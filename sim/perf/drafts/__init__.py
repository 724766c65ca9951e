"""Who drafts, one way a file. A draft is its settings; `drafting(target)` is what it asks of the
GPUs, as models that the same step timer prices as the target."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal, Protocol

from pydantic import Field

from sim.catalog.formats import load_format
from sim.catalog.model import DenseFfn, Layer, Model, NoAttention
from sim.perf.acceptances import Acceptance
from sim.perf.layouts import Layout
from sim.perf.speculation.acceptance import Tree
from sim.perf.task import Formats
from sim.plugins import policy
from sim.settings import settings

MOST_DRAFTS = 32
"""Longest draft that may be asked for."""
AUTO_UP_TO = 8
"""Longest draft that `auto` looks at."""

DraftTokens = Annotated[int, Field(ge=1, le=MOST_DRAFTS)] | Literal["auto"]
"""Drafts per verify step (of a tree: its depth), or `auto`: the length up to 8 that is quickest."""


@dataclass(frozen=True, slots=True)
class Drafting:
    """What drafting computes and keeps on GPUs."""

    model: Model | None = None
    """One drafting pass; None = nothing on a GPU."""
    formats: Formats | None = None
    """Of `model`."""
    once: Model | None = None
    """What is computed once per verify step, on all verified tokens; None = nothing more."""
    sees_verified: bool = False
    """Whether the first pass runs over all verified tokens (it reads the target's hidden states),
    not over the last accepted one alone."""
    own_head: bool = True
    """Whether `model`'s vocabulary is a head of its own, not the target's."""
    copies: int = 1
    """Sets of weights that are kept, as many layers as those of `model` each."""


@dataclass(frozen=True, slots=True)
class DraftHost:
    """Host time of drafting that no GPU work hides."""

    step_s: float = 0.0
    """Per verify step."""
    sequence_s: float = 0.0
    """Per sequence of a verify step."""
    source: str = ""


class Draft(Protocol):
    """What every file here provides."""

    @property
    def draft_tokens(self) -> DraftTokens:
        """Drafts per verify step; 0 never."""

    @property
    def acceptance(self) -> Acceptance:
        """How readily they are accepted."""

    @property
    def layout(self) -> Layout | None:
        """How a drafting pass is spread; None = as the target, on its GPUs."""

    @property
    def apart(self) -> bool:
        """Whether it has GPUs of its own."""

    def drafting(self, target: Model, formats: Formats) -> Drafting:
        """What it computes for a target; ScenarioError where it does not go with it."""

    def tree(self, draft_tokens: int) -> Tree:
        """What is verified with so many drafts."""

    def host(self) -> DraftHost:
        """Its own host time, beside the engine's for any speculation."""

    def assumptions(self) -> list[dict[str, str]]:
        """Figures that it leans on: what, value, source."""


DraftSetting = Annotated[Draft, policy("sim.perf.drafts")]
"""The annotation of a setting that names a draft."""


@settings
class Speculating:
    """What a user writes: `speculation: {eagle: {acceptance: {iid: 0.75}}}`."""

    speculation: DraftSetting


def matrix(numbers: float, hidden: int) -> Layer:
    """A weight matrix of so many numbers beside a decoder layer, as a feed-forward of two matrices
    that have as many: the same bytes and operations, one kernel and one norm more."""
    return Layer(NoAttention(), DenseFfn(max(1, round(numbers / (2 * hidden))), gated=False))


def formats_in(weights: str, kv: Formats) -> Formats:
    """Weights in one format, the KV cache as the target's."""
    return Formats(load_format(weights), load_format(weights), kv.kv)
