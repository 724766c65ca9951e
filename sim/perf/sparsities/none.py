"""Every key is seen, as far as the model's own windows go."""

from __future__ import annotations

from sim.catalog.model import Model
from sim.settings import settings


@settings
class NoSparsity:
    """The model as it is."""

    def apply(self, model: Model) -> Model:
        """Unchanged."""
        return model

    def assumptions(self) -> list[dict[str, str]]:
        """None."""
        return []
