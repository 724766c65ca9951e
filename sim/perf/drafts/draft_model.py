"""A small model of the catalog drafts (Leviathan et al., arXiv 2211.17192), on the target's GPUs or
on its own; it keeps a KV cache of all tokens, and drafts one token a pass."""

from __future__ import annotations

from typing import Annotated

from sim.catalog.model import Model, load_model
from sim.perf.acceptances import AcceptanceSetting
from sim.perf.drafts import DraftHost, Drafting, DraftTokens
from sim.perf.layouts import Layout
from sim.perf.layouts.single import Single
from sim.perf.speculation.acceptance import Tree
from sim.perf.task import Formats, Precision
from sim.plugins import policy
from sim.settings import settings


@settings
class DraftModel:
    """A model that drafts."""

    model: str
    """A model of the catalog, or a config.json."""
    acceptance: AcceptanceSetting
    """How readily its drafts are accepted."""
    draft_tokens: DraftTokens = 3
    """Drafts per verify step."""
    layout: Annotated[Layout, policy("sim.perf.layouts")] = Single()
    """How it is spread: over the first of the target's GPUs, the others waiting, or over its
    own."""
    precision: Precision = Precision()
    """Its number formats."""
    apart: bool = False
    """Whether it has GPUs of its own, wired alike; drafting and verifying take turns all the
    same."""

    def drafting(self, target: Model, formats: Formats) -> Drafting:
        """Its passes."""
        model = load_model(self.model)
        return Drafting(model, self.precision.formats(model))

    def tree(self, draft_tokens: int) -> Tree:
        """A chain."""
        return Tree.chain(draft_tokens)

    def host(self) -> DraftHost:
        """None beside the engine's."""
        return DraftHost()

    def assumptions(self) -> list[dict[str, str]]:
        """How it is launched."""
        return self.acceptance.assumptions()
