"""No speculation: every step gives one token of every sequence."""

from __future__ import annotations

from sim.catalog.model import Model
from sim.perf.acceptances import Acceptance
from sim.perf.acceptances.iid import Iid
from sim.perf.drafts import DraftHost, Drafting, DraftTokens
from sim.perf.layouts import Layout
from sim.perf.speculation.acceptance import Tree
from sim.perf.task import Formats
from sim.settings import settings


@settings
class NoDraft:
    """Nobody drafts."""

    @property
    def draft_tokens(self) -> DraftTokens:
        """None."""
        return 0

    @property
    def acceptance(self) -> Acceptance:
        """Nothing is there to be accepted."""
        return Iid(rate=0.0)

    @property
    def layout(self) -> Layout | None:
        """None."""
        return None

    @property
    def apart(self) -> bool:
        """No."""
        return False

    def drafting(self, target: Model, formats: Formats) -> Drafting:
        """Nothing."""
        return Drafting()

    def tree(self, draft_tokens: int) -> Tree:
        """One token a sequence."""
        return Tree.chain(0)

    def host(self) -> DraftHost:
        """None."""
        return DraftHost()

    def assumptions(self) -> list[dict[str, str]]:
        """None."""
        return []
