"""Always as many drafts as the draft is set to."""

from __future__ import annotations

from sim.engine.speculations import DraftServices
from sim.settings import settings


@settings
class Fixed:
    """The draft's own length."""

    def start(self, services: DraftServices) -> None:
        """Nobody needs to be asked."""
